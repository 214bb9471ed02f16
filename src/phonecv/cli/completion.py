"""`phonecv completion`: names and settings by the Tab key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from phonecv.cli.output import say
from phonecv.errors import UserError

Shell = Literal["bash", "zsh", "fish"]

#: Added to what cyclopts writes for bash: which takes "a=b" for three words, puts a blank behind each word that it
#: completes, "schedule.epochs=" too, ends folders without a slash, and offers files for texts only when told to.
_BASH = """
_phonecv_words() {
  if [[ ${COMP_WORDS[COMP_CWORD]} == = ]]; then
    COMP_WORDS=("${COMP_WORDS[@]:0:COMP_CWORD+1}" "")
    ((COMP_CWORD++))
  fi
  _phonecv
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  ((COMP_CWORD > 1)) && [[ -e ${COMPREPLY[0]} ]] && compopt -o filenames 2>/dev/null
  return 0
}
complete -o default -F _phonecv_words phonecv
"""


#: For zsh: files where nothing else fits, as many arguments are names or files; and whether it is sourced, or loaded
#: from a file of any name in fpath.
_ZSH = """
_phonecv_words() {
  _cyclopts_phonecv "$@"
  (( compstate[nmatches] )) || _files
}
if [[ ${zsh_eval_context[-1]} == *func ]]; then
  _phonecv_words "$@"
else
  compdef _phonecv_words phonecv
fi
"""


def completion(shell: Shell | None = None, /, *, install: bool = False) -> None:
    """Let the Tab key complete verbs, options, recipes, settings, networks and formats.

    Prints what the shell has to read, or puts it where the shell looks for it.

    For example:

    - `phonecv completion --install`
    - `phonecv completion bash`

    Args:
        shell: By default the one that this was typed in.
        install: Write it where the shell looks for it, and name that file.
    """
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    from phonecv.cli.app import app

    if shell is None:
        try:
            found = detect_shell()
        except ShellDetectionError as error:
            raise UserError("which shell this is cannot be seen; name it: phonecv completion bash") from error
        if found not in ("bash", "zsh", "fish"):
            raise UserError(f"there is no completion for {found}; there is for bash, zsh and fish")
        shell = found
    script = app.generate_completion(shell=shell) + {"bash": _BASH, "zsh": _ZSH}.get(shell, "")
    if not install:
        print(script)
        return
    from cyclopts.completion.install import get_default_completion_path

    from phonecv.files import write_text

    path = Path(get_default_completion_path(shell, "phonecv"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, script)
    say(f"wrote {path}; it is there in the next terminal{_HINTS[shell]}")


#: What a shell needs besides the file.
_HINTS = {
    "bash": " (with the package bash-completion)",
    "zsh": ", if that folder is in fpath: `fpath=(~/.zsh/completions $fpath)` before compinit in ~/.zshrc",
    "fish": "",
}
