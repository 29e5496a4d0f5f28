"""`hitl init`: a first policy to start from."""

from pathlib import Path

import click

from hitl.errors import HitlError
from hitl_cli.exits import Exit
from hitl_cli.options import home_option, pass_session
from hitl_cli.session import Session

_FILE = "policy.yaml"

_POLICY = """\
# A first policy. It says which tool calls of an agent run, which wait for a person, and which never run.
#   Deny rules count first, wherever they stand; of the others the first that matches decides.
#   A call that no rule names gets a score from its tool's name and arguments: 0-25 runs, 26-50 runs and people are
#   told, 51-75 waits for one person, 76-100 for two. Until you allow more, a scored call that changes anything waits.
# Look before you trust it:
#   {hitl} check -f {file}
#   {hitl} explain -f {file} --tool shop/refund --args '{{"amount": 7500}}'
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata:
  name: first
spec:
  rules:
  # Never, whoever asks. A tool is "server/tool"; without a server the rule is for every server.
  - name: destructive
    action: Deny
    tools: ["delete_*", "drop_*"]
    because: Deleting is done by people

  # Reading runs at once.
  - name: reading
    action: Allow
    tools: ["get_*", "list_*", "search_*"]

  # Small refunds run and are told about (amounts in cents) ...
  - name: small-refunds
    action: Notify
    tools: ["shop/refund"]
    args:
      amount: {{min: 1, max: 5000}}

  # ... larger ones wait for a person, whose question reads as `summary` says ...
  - name: refunds
    action: Confirm
    tools: ["shop/refund"]
    args:
      amount: {{min: 1, max: 20000}}
    summary: "refund {{args.amount}} cents"
    because: Refunds over 50.00 need a second look

  # ... and all others need two people.
  - name: large-refunds
    action: MultiFactor
    tools: ["shop/refund"]
    summary: "refund {{args.amount}} cents"

  approval:
    # How long a call waits. Nobody answered is not a yes: the call expires and nothing runs.
    timeout: 15m
    # reviewers: [support-leads]    # one person of this group decides; unnamed: {anyone}
"""


@click.command("init", short_help="Write a first policy to start from.")
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@home_option
@pass_session
def command(session: Session, directory: Path) -> Exit:
    """Write a commented first policy into DIR (default: here). Nothing is ever overwritten."""
    file = directory / _FILE
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8") as new:
            anyone = "anyone who may approve here" if session.plugin else "anyone in reviewers.yaml"
            new.write(_POLICY.format(file=file, hitl=session.program, anyone=anyone))
    except FileExistsError:
        raise HitlError(
            f"{file} is already there and was left as it is\n"
            f"Look at it: {session.program} check -f {file}    Start elsewhere: {session.program} init DIR"
        ) from None
    session.screen.data(f"wrote {file}")
    if session.plugin:
        session.screen.talk(f"Next: kubectl hitl check -f {file}", f"      kubectl apply -n NS -f {file}")
        return Exit.DONE
    session.screen.talk(
        f"Next: hitl check -f {file}",
        f"      {session.hint('dev', 'reviewer', 'add', 'NAME')}",
        f"      {session.hint('dev', '-f', str(directory))}",
    )
    return Exit.DONE
