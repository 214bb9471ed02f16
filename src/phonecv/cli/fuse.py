"""`phonecv fuse`: training form to deploy form."""

from __future__ import annotations

from pathlib import Path

from phonecv.cli.options import Ema, Force, Model, Source, destination, load
from phonecv.cli.output import millions, say, say_json
from phonecv.errors import UserError
from phonecv.tables import text_table


def fuse(
    source: Source, target: Path, /, *, model: Model = None, ema: Ema = None, force: Force = False, json: bool = False
) -> None:
    """Training form to deploy form, checked.

    Branches, norms and scales are folded into plain convolutions; the outputs of both forms must agree.

    For example:

    - `phonecv fuse runs/signs/best.safetensors signs-deploy.safetensors`
    - `phonecv fuse mobileone_s1_unfused.pth.tar s1.safetensors`

    Args:
        target: The .safetensors file to write, or a folder.
        json: Print JSON.
    """
    path = destination(target, force=force, source=source, suffix=".safetensors")
    network = load(source, model, ema)

    from phonecv.benchmarking.count import count_cost_on, count_parameters
    from phonecv.converting import origin
    from phonecv.exporting.inputs import made_up
    from phonecv.exporting.room import exporting_of
    from phonecv.models.fusing import FORM_TOLERANCE, form_difference
    from phonecv.models.fusing import fuse as run
    from phonecv.task import done_by
    from phonecv.weights import save_checkpoint

    fused = run(network)
    size, room = network.preprocessing.size, exporting_of(done_by(network))
    inputs = room.inputs(network, size, size)
    # What a task makes of the outputs of its heads is the same in both forms.
    both = [room.timed(net)[0] for net in (network, fused)]
    difference = form_difference(both[0], both[1], *made_up(inputs, 2))
    # Written so that a difference of NaN fails, too.
    if not difference <= FORM_TOLERANCE:
        raise UserError(
            f"the forms differ by {difference:.2e} of the largest output, above {FORM_TOLERANCE:g}; nothing was "
            "written (are the BatchNorm statistics of this checkpoint settled, and its weights finite?)"
        )
    save_checkpoint(fused, path, **origin(source))
    rows = [
        (form, count_parameters(net), count_cost_on(net, *made_up(inputs, 1)).macs)
        for form, net in zip((network.form, "deploy"), both, strict=True)
    ]
    if json:
        forms = [{"form": form, "parameters": parameters, "macs": macs} for form, parameters, macs in rows]
        say_json({"model": network.name, "path": str(path), "difference": difference, "size": size, "forms": forms})
        return
    if network.form == "deploy":
        say(f"{source} is in deploy form already; it is written as it is")
    else:
        say(text_table(("form", "parameters", "MACs"), [(f, f"{p:,}", f"{m:,}") for f, p, m in rows], right=(1, 2)))
        say(f"largest output difference: {difference:.1e} of the largest output, on 2 random inputs of {size} px")
    say(f"wrote {path} ({network.name}, {millions(rows[1][1])} parameters)")
