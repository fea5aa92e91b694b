"""Completion of commands, options and names for the shells bash, zsh and fish."""

import argparse
from collections.abc import Mapping, Sequence

SHELLS = ("bash", "zsh", "fish")

BASH = """\
_posezoo() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    case "$before" in
{values}
    esac
    if [ -z "$words" ]; then
        if [ "$COMP_CWORD" -eq 1 ]; then words="{commands}"
        elif [ "${{word:0:1}}" = "-" ]; then
            case "${{COMP_WORDS[1]}}" in
{options}
            esac
        else
            case "${{COMP_WORDS[1]}}" in
{positions}
            esac
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _posezoo posezoo
"""


def script(shell: str, parser: argparse.ArgumentParser, names: Mapping[str, Sequence[str]]) -> str:
    """Write the completion script of a command line.

    Args:
        shell: "bash", "zsh" or "fish".
        parser: the command line, with one level of commands.
        names: values of options and of positional arguments by their name, for instance
            {"--model": […]}. Values that are missing here are completed as file names.

    Raises:
        ValueError: another shell.

    Examples:
        >>> parser = argparse.ArgumentParser("posezoo")
        >>> _ = parser.add_subparsers().add_parser("list", help="list the models")
        >>> print(script("fish", parser, {}).splitlines()[0])
        complete -c posezoo -n __fish_use_subcommand -f -a list -d 'list the models'
    """
    if shell not in SHELLS:
        raise ValueError(f"shell: expected one of {', '.join(SHELLS)}, got {shell!r}")
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    if shell == "fish":
        return _fish(commands.choices, helps, names)
    options, positions, values = [], [], dict(names)
    for command, sub in commands.choices.items():
        flags = [flag for action in sub._actions for flag in action.option_strings]
        options.append(f'                {command}) words="{" ".join(flags)}" ;;')
        for action in sub._actions:
            if action.choices and action.option_strings:
                values[action.option_strings[-1]] = [str(choice) for choice in action.choices]
            known = action.choices or names.get(action.dest)
            if not action.option_strings and known:
                positions.append(f'                {command}) words="{" ".join(map(str, known))}" ;;')
    text = BASH.format(
        values="\n".join(
            f'        {flag}) words="{" ".join(known)}" ;;' for flag, known in values.items() if flag.startswith("--")
        ),
        commands=" ".join(commands.choices),
        options="\n".join(options),
        positions="\n".join(positions),
    )
    return text if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{text}"


def _fish(
    commands: dict[str, argparse.ArgumentParser], helps: dict[str, str], names: Mapping[str, Sequence[str]]
) -> str:
    lines = []
    for command, sub in commands.items():
        lines.append(f"complete -c posezoo -n __fish_use_subcommand -f -a {command} -d {_quoted(helps[command])}")
        here = f"-n '__fish_seen_subcommand_from {command}'"
        for action in sub._actions:
            known = action.choices or names.get(action.option_strings[-1] if action.option_strings else action.dest)
            values = f" -f -a {_quoted(' '.join(map(str, known)))}" if known else ""
            if action.option_strings:
                flag = action.option_strings[-1].removeprefix("--")
                value = " -r" * (action.nargs != 0)
                about = _quoted((action.help or "").partition(";")[0])
                lines.append(f"complete -c posezoo {here} -l {flag}{value}{values} -d {about}")
            elif known:
                lines.append(f"complete -c posezoo {here}{values}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
