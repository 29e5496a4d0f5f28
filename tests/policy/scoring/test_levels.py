"""Levels of tools that nobody declared: action × object, fail closed, each with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy import lexicon
from hitl.policy.levels import infer_level
from hitl.policy.spec import Level, ToolDefinition

LOW, MEDIUM, HIGH, CRITICAL = Level
TABLE = """
low       get_weather get_forecast get_current_time convert_currency calculate translate list_tables describe_table
low       list_pipelines get_schema get_query_status get_help lint validate_template get_directions list_regions
medium    list_users get_file_contents read_email search_messages get_logs list_commits get_account_balance list_roles
medium    create_issue create_task add_label create_directory add_reaction complete_task tag_resource create_draft
medium    stop_session cancel_crawl start_scan kill_session get_unheard_of_thing read_query readonly_query
high      send_message post_tweet create_bucket create_instance delete_file write_file edit_file move_file update_page
high      create_event cancel_workflow_run update_dashboard acknowledge_alert silence_alert push_files create_invoice
high      get_secret get_env read_password click fill_form foo frobnicate_widget create_unheard_of_thing run_query
critical  create_user delete_user create_api_key update_policy add_user_to_group create_firewall_rule update_dns_record
critical  issue_refund create_refund transfer_funds place_order cancel_order cancel_subscription execute_trade
critical  drop_table delete_database purge_queue stop_instance update_cluster restart_server deploy_service
critical  scale_deployment run_command execute_code bash write_query grant_role assume_role delete_all_records
"""
ROWS = [(Level[row.split()[0].upper()], tool) for row in TABLE.strip().splitlines() for tool in row.split()[1:]]


@pytest.mark.parametrize(("level", "tool"), ROWS)
def test_the_name_alone_gives_the_level(level: Level, tool: str) -> None:
    """Object nouns beat verbs; what is unknown is high, or medium if it is only read."""
    inferred = infer_level(f"server/{tool}", None, ())
    assert inferred.level is level, inferred.reason


@pytest.mark.parametrize(
    ("tool", "arguments", "description", "level"),
    [
        ("request", ("method", "path", "body"), "", CRITICAL),
        ("call_aws", ("cli_command",), "", CRITICAL),
        ("search", ("sql",), "", HIGH),
        ("run_query", ("sql",), "Run a read-only SQL query", MEDIUM),
        ("read_cypher", ("query",), "Execute arbitrary read-only Cypher queries", MEDIUM),
        ("execute_sql", ("query",), "Executes raw SQL", CRITICAL),
        ("sql_to_rest", ("sql",), "Converts SQL to a REST request", LOW),
        ("query", ("query",), "Execute a PromQL query", LOW),
        ("query_logs", ("logql",), "Executes a log query against Loki", MEDIUM),
        ("deploy_app_help", (), "Provides instructions on how to deploy an application", LOW),
        ("secure_policy", (), "Generates an IAM policy template", LOW),
        ("get_environment", (), "Returns all environment variables", HIGH),
        ("manage_tables", ("operation",), "Manage tables with read operations", LOW),
        ("manage_clusters", ("operation",), "Create, scale and terminate clusters", CRITICAL),
        ("run_python", ("code",), "Runs code in a sandbox", HIGH),
        ("delete_node", (), "Deletes a node (moves it to the trash)", HIGH),
        ("send_test_email", (), "", MEDIUM),
        ("confirm_delete_group", (), "", CRITICAL),
        ("build_and_deploy", (), "", CRITICAL),
        ("browser_navigate", ("url",), "", HIGH),
        ("browser_take_screenshot", (), "", MEDIUM),
        ("browser_scroll", (), "", LOW),
        ("mystery", (), "Use this tool to delete all users", CRITICAL),
    ],
)
def test_a_trusted_tools_words_and_schema_count(
    tool: str, arguments: tuple[str, ...], description: str, level: Level
) -> None:
    """Query tools by what they state, pass-throughs by their schema, generators by what they give back."""
    inferred = infer_level(f"s/{tool}", ToolDefinition(tool, description, arguments), arguments, trusted=True)
    assert inferred.level is level, inferred.reason


@given(
    st.sampled_from([tool for _, tool in ROWS]),
    st.text(max_size=80) | st.sampled_from(["Read-only.", "Generates a guide", "Returns best practices", "Lists docs"]),
    st.lists(st.sampled_from(["url", "sql", "id", "command", "method", "path"]), max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["readOnlyHint", "destructiveHint", "openWorldHint"]), st.booleans()),
)
def test_A6_what_a_tool_says_of_itself_never_lowers_its_level(
    tool: str, description: str, arguments: tuple[str, ...], annotations: dict[str, bool]
) -> None:
    """A6: whatever description, schema and hints an untrusted server sends, the name's level is the least."""
    definition = ToolDefinition(tool, description, arguments, annotations)
    assert infer_level(f"s/{tool}", definition, ()).level >= infer_level(f"s/{tool}", None, ()).level


@given(st.from_regex(r"[a-z]{3,12}(_[a-z]{3,12}){0,3}", fullmatch=True))
def test_an_unknown_word_never_makes_a_tool_harmless(tool: str) -> None:
    """Fail closed: without a verb that only reads or computes, a name of unknown words is at least high."""
    words = tool.split("_")
    if not any(word in lexicon.VERBS or word in lexicon.READ_NOUNS or word in lexicon.CHANGED_NOUNS for word in words):
        inferred = infer_level(f"s/{tool}", None, ())
        assert inferred.level >= HIGH
        assert not inferred.reads


def test_every_answer_gives_its_reason() -> None:
    """A person can see which word decided."""
    assert infer_level("s/delete_table", None, ()).reason == (
        '"delete" deletes "table": live infrastructure or a container of data'
    )
    assert infer_level("s/frobnicate", None, ()).reason == "what it does cannot be told from its name"


def test_capitals_of_the_tools_own_name_separate_its_words() -> None:
    """A lookup name is lower case; the definition's spelling shows where words begin."""
    assert infer_level("s/createapikey", ToolDefinition("createApiKey"), ()).level is CRITICAL


@pytest.mark.parametrize("table", ["_VERBS", "_READ", "_CHANGED"])
def test_a_word_stands_in_one_class_of_a_table(table: str) -> None:
    """A word in two classes would be decided by the order of lines."""
    words = [word for text in getattr(lexicon, table).values() for word in text.split()]
    assert sorted(words) == sorted(set(words))
    assert all(word == word.lower() and word.count("_") <= 2 for word in words)


def test_every_act_and_thing_has_a_level() -> None:
    """The table is complete, and no act is milder on something unknown than on a work item."""
    for act in lexicon.Act:
        if act in (lexicon.Act.READ, lexicon.Act.COMPUTE):
            continue
        row = lexicon.CHANGE_LEVEL[act]
        assert set(row) == set(lexicon.Thing)
        assert row[lexicon.Thing.UNKNOWN] >= row[lexicon.Thing.WORK]
