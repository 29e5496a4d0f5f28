"""The risk level of a tool that nobody declared: action × object, from its name, arguments and own words.

Deterministic, and every answer says why. Two principles carry it: object nouns beat verbs (the same `create` is small
for a label and critical for an access key), and it fails closed (an unknown verb or an unknown created object is high,
an unknown thing read is medium). What a tool says of itself can only raise the level, unless its server is trusted.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import re2

from hitl.policy.lexicon import BROWSER, BULK, CHANGE_LEVEL, READ_LEVEL, Act, Stake, Thing
from hitl.policy.names import word_set
from hitl.policy.spec import Level, ToolDefinition
from hitl.policy.tool_names import Reading, read_name


@dataclass(frozen=True, slots=True)
class Inferred:
    """A level and where it comes from.

    Attributes:
        level: the level.
        reason: one phrase, for people.
        reads: nothing it does changes anything, as far as its name and words say.
    """

    level: Level
    reason: str
    reads: bool = False


def infer_level(
    name: str, definition: ToolDefinition | None, argument_names: Collection[str], *, trusted: bool = False
) -> Inferred:
    """The level of an undeclared tool.

    Args:
        name: lookup name ``server/tool``.
        definition: what the tool says of itself, if known; its spelling of the name is used, capitals separate words.
        argument_names: those of the call at hand.
        trusted: its ToolServer is trusted, so its description may also lower the level.
    """
    server, _, tool = name.rpartition("/")
    if definition is None:
        return _infer(read_name(server, tool, "", argument_names))
    if definition.name.lower() == tool.lower():
        tool = definition.name
    bare = _infer(read_name(server, tool, "", argument_names))
    told = _infer(read_name(server, tool, definition.description, (*argument_names, *definition.argument_names)))
    result = told if trusted or told.level >= bare.level else bare
    if definition.annotations.get("destructiveHint") and not result.reads and result.level < Level.HIGH:
        return Inferred(Level.HIGH, f"{result.reason}; it calls itself destructive")
    return result


def _infer(reading: Reading) -> Inferred:
    for rule in _RULES:
        if (found := rule(reading)) is not None:
            return found
    return _by_table(reading)


# The named rules, in this order; the first that has something to say decides.


def _pass_through(reading: Reading) -> Inferred | None:
    names = reading.names
    if names & {"method", "http_method"} and names & {"path", "url", "endpoint", "uri"}:
        return Inferred(Level.CRITICAL, "takes a method and a path: it passes on any request")
    if names & {"cli_command", "api_operation"}:
        return Inferred(Level.CRITICAL, "takes a whole command of another program: it passes on any request")
    return None


_READ_ONLY = re2.compile(r"read[- ]?only|\bselect (?:query|queries|statement)|only select|\bselect\b[^.]{0,40}\bonly\b")
_ANYTHING = re2.compile(
    r"\braw sql\b|\barbitrary\b|\bddl\b|\bdml\b|\bany (?:sql|query|statement|command)|\binsert\b|\bupdate\b|\bdelete\b"
    r"|\bdrop\b|\bin a transaction\b|\bwrite (?:query|queries|operations?|access)|read[- ]write|\bmutations?\b"
)
_METRIC_LANGUAGE = re2.compile(r"promql|prometheus|metricsql|graphite|\bmetrics? quer")
_LOG_LANGUAGE = re2.compile(r"logql|\bloki\b|logs? insights?|log quer|\blogs\b|elasticsearch|lucene|observability")
_STATEMENTS = re2.compile(
    r"\bsql\b|cypher|\bcql\b|graphql|sparql|gremlin|database|\btable|clickhouse|snowflake|bigquery"
)


def _query(reading: Reading) -> Inferred | None:
    """Query tools: by what their language can do, and by what they say they allow."""
    is_statement = bool(reading.names & {"sql", "cypher", "statement", "sql_query", "graphql"})
    words = set(reading.words)
    asks = bool(words & {"query", "sql", "cypher", "transact", "statement", "promql", "graphql", "cql"})
    if not (is_statement or asks):
        return None
    if reading.act not in (Act.READ, Act.RUN, Act.UNKNOWN) and reading.verb != "write":
        return None
    if reading.act is Act.READ and reading.verb not in ("query", "read") and (reading.head_fact or not is_statement):
        return None  # get_query_status is about a status
    subject = f"{' '.join(reading.words)} {reading.text}"
    if words & {"write", "transact", "insert", "update", "delete"}:
        return Inferred(Level.CRITICAL, "a query tool that writes")
    if _READ_ONLY.search(subject) or words & {"readonly"} or (reading.verb == "read" and "cypher" in words):
        return Inferred(Level.MEDIUM, "a query tool that is stated to be read-only", reads=True)
    if _METRIC_LANGUAGE.search(subject):
        return Inferred(Level.LOW, "a query language over metrics, which cannot write", reads=True)
    if _LOG_LANGUAGE.search(subject):
        return Inferred(Level.MEDIUM, "a query language over logs, which cannot write", reads=True)
    if _ANYTHING.search(subject):
        return Inferred(Level.CRITICAL, "a query tool that takes any statement")
    if is_statement or _STATEMENTS.search(subject) or reading.act is Act.RUN:
        return Inferred(Level.HIGH, "a query tool that does not say what it may change")
    return None


_SANDBOX = re2.compile(r"sandbox|in a container|in the container|isolated|browser|in the page|locally invoke")
_CODE_WORDS: Final = word_set("command commands cmd shell bash script scripts code python terminal process exec")
_SHELLS: Final = word_set("bash cmd eval exec kubectl powershell shell ssh sudo terminal zsh")


def _execution(reading: Reading) -> Inferred | None:
    """Running code or commands."""
    words = set(reading.words)
    shell = reading.act in (Act.RUN, Act.UNKNOWN) and bool(words & _SHELLS) and len(words) <= 3
    runs = reading.act in (Act.RUN, Act.START) or bool({"exec", "eval", "evaluate"} & words)
    shown = bool(words & _CODE_WORDS) or bool(reading.names & {"command", "cmd", "shell", "script"})
    if not shell and not (runs and shown):
        return None
    if _SANDBOX.search(f"{' '.join(reading.words)} {reading.text}"):
        return Inferred(Level.HIGH, "runs code in a sandbox")
    return Inferred(Level.CRITICAL, "runs code or commands")


def _browser(reading: Reading) -> Inferred | None:
    """What an agent does in a browser."""
    words = set(reading.words)
    if not words & {"browser", "playwright", "puppeteer"} or words & {"session", "sessions"}:
        return None
    for level, acts in BROWSER.items():
        if words & acts:
            return Inferred(level, f"{min(words & acts)} in a browser", reads=level is not Level.HIGH)
    return None


_GENERATES = re2.compile(
    r"^(?:generates?|provides?|returns?|gets?|retrieves?|creates?|suggests?|builds?|fetch(?:es)?)\b[^.]{0,70}?"
    r"\b(?:instructions?|guidance|guidelines?|guides?|best practices|deep ?links?|explorer link|prompts?"
    r"|help information|example|code snippet|typescript types|infrastructure code|iam polic(?:y|ies)|syntax"
    r"|ssh tunnel command)\b"
)
_ADVICE: Final = word_set("help guide guideline guidelines practices example examples tutorial advice")


def _generator(reading: Reading) -> Inferred | None:
    """Tools that only give text back, even when the text speaks of deploying or deleting."""
    if reading.words and reading.words[-1] in _ADVICE:
        return Inferred(Level.LOW, "gives advice", reads=True)
    if reading.act in (Act.READ, Act.COMPUTE, Act.UNKNOWN) and _GENERATES.search(reading.text):
        return Inferred(Level.LOW, "gives a text back and changes nothing", reads=True)
    return None


_RETURNS_SECRET = re2.compile(
    r"environment variables|\bsecret values?|private key|decrypt|plain-?text (?:secret|password)"
)


def _secret(reading: Reading) -> Inferred | None:
    """Reads whose product is a secret."""
    if reading.act is Act.READ and (reading.stake is Stake.SECRET or _RETURNS_SECRET.search(reading.text[:120])):
        return Inferred(Level.HIGH, "gives a secret out", reads=True)
    return None


_READS_ONLY = re2.compile(r"read operations|discover and describe|list, search|list and (?:get|describe)|read-only")
_DESTROYS = re2.compile(
    r"\b(?:delete|terminate|destroy|remove|drop|encryption|polic(?:y|ies)|permission|write operations)\b"
)


def _manage(reading: Reading) -> Inferred | None:
    """`manage_…`: the worst operation that the text names."""
    if reading.verb != "manage" and reading.words[-1:] != ("management",):
        return None
    if _READS_ONLY.search(reading.text):
        level = READ_LEVEL[reading.stake]
        return Inferred(level, f"manages {reading.shown}, and is stated to read only", reads=True)
    if reading.thing in (Thing.LIVE, Thing.ACCESS, Thing.MONEY) or _DESTROYS.search(reading.text):
        worst = Level.HIGH if reading.thing in (Thing.SETTING, Thing.WORK, Thing.RECORD, Thing.JOB) else Level.CRITICAL
        return Inferred(worst, f"manages {reading.shown}: {reading.thing}, whatever operation is asked for")
    return Inferred(Level.HIGH, f"manages {reading.shown}, whatever operation is asked for")


def _trial(reading: Reading) -> Inferred | None:
    """Tests, previews and simulations are reads."""
    words = set(reading.words)
    if words & {"preview", "simulate", "simulated", "dry"} or (words & {"dryrun"}):
        return Inferred(
            Level.MEDIUM
            if reading.act in (Act.UPDATE, Act.READ, Act.COMPUTE) and reading.stake is not Stake.FACT
            else Level.LOW,
            "a trial run",
            reads=reading.act in (Act.READ, Act.COMPUTE),
        )
    if reading.act is Act.SEND and "test" in words:
        return Inferred(Level.MEDIUM, "sends a test message")
    return None


_RULES: Final[tuple[Callable[[Reading], Inferred | None], ...]] = (
    _pass_through,
    _query,
    _browser,
    _execution,
    _generator,
    _secret,
    _manage,
    _trial,
)

# To find out what is wrong with a thing is to look inside, whatever it is.
_INVESTIGATES: Final = word_set("audit diagnose investigate troubleshoot")
_RECOVERABLE = re2.compile(r"\bto (?:the )?trash\b|recycle bin|can be (?:restored|recovered|undone)|soft[- ]delet")


def _by_table(reading: Reading) -> Inferred:
    match reading.act:
        case Act.READ:
            level = READ_LEVEL[reading.stake]
            if reading.verb in _INVESTIGATES:
                level = max(level, Level.MEDIUM)
            return Inferred(level, f'"{reading.verb}" reads {reading.shown}: {reading.stake}', reads=True)
        case Act.COMPUTE:
            private = reading.stake is Stake.PRIVATE
            return Inferred(
                Level.MEDIUM if private else Level.LOW, f'"{reading.verb}" only computes something', reads=True
            )
        case Act.UNKNOWN if reading.only_nouns and reading.stake is not Stake.UNKNOWN:
            level = READ_LEVEL[reading.stake]
            return Inferred(level, f"names no action, only {reading.shown}: {reading.stake}", reads=True)
    level = CHANGE_LEVEL[reading.act][reading.thing]
    reason = f'"{reading.verb}" {reading.act} {reading.shown}: {reading.thing}'
    if not reading.verb:
        reason = "what it does cannot be told from its name"
    if reading.act is Act.DELETE:
        if level < Level.CRITICAL and set(reading.words) & BULK and reading.thing is not Thing.HANDLE:
            return Inferred(Level.CRITICAL, f"{reason}, many at once")
        if _RECOVERABLE.search(reading.text) and level is Level.CRITICAL:
            return Inferred(Level.HIGH, f"{reason}, recoverable")
    return Inferred(level, reason)
