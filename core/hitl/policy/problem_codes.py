"""What the codes of `hitl check` mean. Codes are never given another meaning; `HITL1…` is refused, the rest advice."""

from typing import Final

CODES: Final = {
    "HITL100": (
        "Something is wrong that has no code of its own; the message says what and where. Example: correct the "
        "named field and check again."
    ),
    "HITL101": (
        "A key that nobody knows. A misspelt key would otherwise be ignored, and a rule without its condition "
        "matches more than its author meant. Example: write action: Deny instead of acton: Deny."
    ),
    "HITL102": (
        "A value of the wrong kind, out of range, empty or missing. Nothing is guessed: a number is not taken for "
        "a text, an empty list not for everything. Example: write timeout: 15m instead of timeout: 15."
    ),
    "HITL103": (
        "A word that is not one of the known ones. Words are case-exact, because they are the same in YAML, JSON, "
        "metrics and audit. Example: write action: MultiFactor instead of action: multi-factor."
    ),
    "HITL104": (
        "A rule that can never match, because an earlier one takes all its calls. Deny rules are tried first "
        "wherever they stand, then the others in order, and the first match decides. Example: put the rule for "
        "stripe/create_refund before the one for stripe/*, or remove it."
    ),
    "HITL105": (
        "Something stands there twice that must be unique: the name of a rule, a resource, an item of a list. "
        "Verdicts and audit name rules, so one name means one rule. Example: rename the second rule to refunds-"
        "large."
    ),
    "HITL106": (
        "A glob over tools that can match no tool. * matches any run of characters within server or tool, ? one "
        "character; without a / any server is meant, and ** is refused. Example: write stripe/* instead of "
        "stripe/**."
    ),
    "HITL107": (
        "A regular expression that RE2 does not know, or that may be slow. Look-around and back-references do not "
        "exist, counted repeats go up to 16 (nested counts multiply), and the compiled program is capped. "
        "Example: write [a-z]+ with maxLength: 80 instead of [a-z]{1,80}."
    ),
    "HITL108": (
        "A CEL condition that does not compile to a boolean. Variables are args, call.{server,tool,session}, "
        "agent.{namespace,serviceAccount,workload,labels}, onBehalfOf.{username,verified}, session.tainted and "
        "now. Example: write has(args.dry_run) && args.dry_run == true instead of args.dry_run."
    ),
    "HITL109": (
        "Matchers that cannot work: a plain value instead of a matcher, bounds that no number fits, an argument "
        "named twice. Example: write currency: {equals: eur} instead of currency: eur."
    ),
    "HITL110": (
        "A requirement wants a second factor that is not available here, so no request could ever be approved. "
        "Example: add satisfiedBy: [SecondPerson], so that two distinct people satisfy it."
    ),
    "HITL111": (
        "Something that relaxes stands in a ClusterAgentPolicy, or forbid in an AgentPolicy. A baseline may only "
        "raise results and add requirements. Example: move trust into the AgentPolicy of the namespace that needs "
        "it."
    ),
    "HITL112": (
        "The policy uses what a ClusterAgentPolicy forbids. Who runs the cluster decided that no namespace may do "
        "this. Example: remove mode: Monitor, or ask for an exception in the baseline."
    ),
    "HITL113": (
        "A summary with a placeholder that is none. {args.NAME} shows an argument, {args.NAME.MEMBER} what is "
        "inside it, {{ is a brace; what is missing shows as ?. Example: write summary: 'mail {args.to}'."
    ),
    "HITL114": (
        "A directory of within, a host of hosts, or a protected path that cannot be read. Directories cover what "
        "is below them, *.example.com covers subdomains only. Example: write within: [/workspace] instead of "
        "within: [/workspace/*]."
    ),
    "HITL115": (
        "Two servers or tools that are one name to the gate: names are compared as NFKC in lower case. No rule "
        "could tell them apart, so one could be called under the rules of the other. Example: rename one of "
        "readFile and readfile."
    ),
    "HITL116": (
        "Two things that exclude each other, or one that would make a call easier than without it. Example: keep "
        "either reviewers or requirements; let a limit's then be stricter than the rule's action."
    ),
    "HITL120": "The text is not YAML; the message gives line and column. Example: close the bracket that was opened.",
    "HITL121": (
        "A key stands twice in one mapping. YAML readers keep one of them and say nothing, so the policy in force "
        "would depend on the reader. Example: merge the two args mappings into one."
    ),
    "HITL122": (
        "A document of another kind or version. AgentPolicy, ClusterAgentPolicy and ToolServer of "
        "hitl.dev/v1alpha1 are read here. Example: write apiVersion: hitl.dev/v1alpha1."
    ),
    "HITL123": (
        "A value that YAML readers disagree on: on, yes, 010, 1_000, 12:30, dates, merge keys. What one reads as "
        "a text is a boolean or a number to another. Example: write mode: 'on' in quotes, or true."
    ),
    "HITL124": (
        "The document is too large or too deep, aliases expanded; a few lines of nested aliases can stand for "
        "gigabytes. Example: write the values out, or split the file."
    ),
    "HITL125": (
        "A name, namespace or label that Kubernetes would refuse. Example: write name: support-refunds, in lower "
        "case with '-'."
    ),
    "HITL130": (
        "The compiled config is incomplete or does not fit together: a baseline that is announced and missing, "
        "another namespace, an unknown schema. A config that lost a part on its way must not run. Example: let "
        "the hub send it again; if it stays, hub and sidecar are of different versions."
    ),
    "HITL201": (
        "A string matcher on SQL. '^select' also lets 'select 1; drop table x' through, and comments hide "
        "anything. Example: list whole statements with in, or let a person decide (action: Confirm)."
    ),
    "HITL202": (
        "A string matcher on a shell command. Quoting, 'a; b', $(…) and variables get around any pattern. "
        "Example: list whole commands with in, or let a person decide (action: Confirm)."
    ),
    "HITL203": (
        "A string matcher on a path. '^/workspace/' lets /workspace/../etc/passwd through; within cleans the path "
        "first. Example: write path: {within: [/workspace]}."
    ),
    "HITL204": (
        "A string matcher on a URL. 'https://good.com' is also the start of https://good.com.evil.com and of "
        "https://good.com@evil.com; hosts parses it. Example: write url: {hosts: [good.com, '*.good.com']}."
    ),
    "HITL205": (
        "An argument name with a dot. It means one argument of exactly that name, not a member of another. "
        "Example: write /customer/id for the id inside customer."
    ),
    "HITL206": (
        "A Deny rule with within. A relative path or another way to home is not within the directory, so the rule "
        "does not match and something else decides. Example: list the directory under protectedPaths, where "
        "doubt refuses."
    ),
    "HITL301": (
        "Nothing in this policy ever asks a person. That may be meant, but then it is a log, not a gate. Example: "
        "add a rule with action: Confirm for what cannot be undone, or undeclared: Score."
    ),
    "HITL302": (
        "Every call that is not denied waits for a person. People who are asked about everything stop reading. "
        "Example: add {action: Allow, tools: ['get_*', 'list_*']} before the rule."
    ),
    "HITL303": (
        "An approval that is likely to be given without reading: a person is asked about every read, or decides "
        "about his own agent alone. Example: allow the reads and keep the question for the changes; name "
        "reviewers."
    ),
    "HITL304": (
        "An escalation step or reminder that comes after the request has expired. Example: write after: 5m under "
        "timeout: 15m."
    ),
    "HITL305": (
        "Without a cool-down a denied agent can ask the same again at once, until somebody tires and approves. "
        "Example: leave denialCooldown out; it is 10m."
    ),
    "HITL306": "A field that changes nothing where it stands. Example: remove reviewers from a rule that denies.",
    "HITL307": (
        "A rule names a tool that its ToolServer does not declare; it will match nothing. Example: write "
        "stripe/create_refund instead of stripe/create_refnd."
    ),
    "HITL308": (
        "Allow in a ClusterAgentPolicy says only that its later rules do not concern these calls; without later "
        "rules it says nothing. Example: remove it, or put it before the rule that it exempts from."
    ),
    "HITL309": (
        "A policy without rules and without undeclared speaks on no call, so the built-in policy decides as if it "
        "were not there. Example: add undeclared: Score to use its scoring and approval."
    ),
}
