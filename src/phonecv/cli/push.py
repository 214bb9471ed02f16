"""`phonecv push`: a network to the Hugging Face hub."""

from __future__ import annotations

from phonecv.cli.options import Source, loading
from phonecv.cli.output import say


def push(
    source: Source,
    repo: str,
    /,
    *,
    licence: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> None:
    """Put a network on the Hugging Face hub, with a model card.

    Safetensors with the record of network, classes, preprocessing and training, and a card with figures, licence and
    use. Log in with `hf auth login` first. Whatever takes a checkpoint takes `hf://owner/name` then.

    For example:

    - `phonecv push runs/photos/best.safetensors me/photos --licence apache-2.0`
    - `phonecv push runs/photos/best.safetensors me/photos --private`

    Args:
        repo: `owner/name`; made if it is not there.
        licence: Of the weights, as the hub spells it.
        private: Make the repository private, where it is made.
        message: Of the commit.
    """
    loading(source, None, None)
    from phonecv.hub import push_to_hub

    say(f"wrote {push_to_hub(source, repo, licence=licence, private=private, message=message)}")
