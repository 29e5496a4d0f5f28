"""What holds where nobody wrote a policy: everything is scored, and what is not read-only waits for a person."""

from typing import Final

from hitl.policy.spec import Autonomy, Policy, Undeclared
from hitl.policy.verdicts import PolicyRef

# Speaks on a call on which no policy of the namespace speaks; anyone who may approve the tier decides (DESIGN 7.4).
BUILT_IN: Final = Policy(
    ref=PolicyRef(kind="BuiltIn", namespace="", name="default"),
    autonomy=Autonomy.READ_ONLY,
    undeclared=Undeclared.SCORE,
)

# Refused whatever a policy says (unless it only watches): where credentials are on every machine, and what the gate and
# the kubelet keep. A policy's own `protectedPaths` are added to these.
PROTECTED_PATHS: Final = (
    "~/.ssh",
    "~/.aws",
    "~/.azure",
    "~/.config/gcloud",
    "~/.kube",
    "~/.gnupg",
    "~/.docker/config.json",
    "~/.git-credentials",
    "~/.netrc",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/run/secrets",
    "/var/run/secrets",
    "/run/hitl",
    "/var/run/hitl",
)

# Arguments that are read by people or written into files, never opened: a mail that mentions ~/.ssh is not an attempt
# on it. Not exempt where the tool runs processes.
PROSE_ARGUMENTS: Final = frozenset(
    {
        "body",
        "comment",
        "content",
        "contents",
        "description",
        "file_text",
        "html",
        "insert_text",
        "markdown",
        "message",
        "new_str",
        "new_string",
        "new_text",
        "note",
        "notes",
        "old_str",
        "old_string",
        "old_text",
        "prompt",
        "reason",
        "subject",
        "summary",
        "text",
        "title",
    }
)

# A tool whose name has one of these words may run whatever it is given, so nothing it gets is mere prose.
PROCESS_WORDS: Final = frozenset(
    {"bash", "cmd", "code", "command", "eval", "exec", "execute", "powershell", "process", "python", "run", "script"}
    | {"sh", "shell", "spawn", "ssh", "sudo", "terminal"}
)
