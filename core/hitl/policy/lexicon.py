"""Words of tool names, by class: the data under level inference. Review it like any table; the logic is in `levels`.

A verb says what is done, a noun to what. The same noun can stand for different things when it is read and when it is
changed (reading a user is reading about people, creating one gives access), so there is a table for each. Nouns stand
in the singular; two words stand before one. Nothing here may be longer than two words.
"""

from enum import StrEnum
from typing import Final

from hitl.policy.names import word_set
from hitl.policy.spec import Level


class Act(StrEnum):
    """What a verb does; the value completes "it … the thing"."""

    COMPUTE = "computes"
    READ = "reads"
    CREATE = "creates"
    UPDATE = "changes"
    MARK = "marks"
    DELETE = "deletes"
    SEND = "sends"
    RUN = "runs"
    START = "starts"
    STOP = "stops"
    DEPLOY = "deploys"
    GRANT = "grants or takes"
    PAY = "pays"
    UNKNOWN = "does something unknown with"


class Stake(StrEnum):
    """What is at stake when something is read."""

    SECRET = "a secret"  # noqa: S105 - the name of a class of words
    PRIVATE = "private content"
    FACT = "public or technical facts"
    UNKNOWN = "something unknown"


class Thing(StrEnum):
    """What is at stake when something is changed."""

    ACCESS = "access, identity or network security"
    MONEY = "money"
    BILLING = "a billing document"
    LIVE = "live infrastructure or a container of data"
    PROGRAM = "code, commands or statements"
    JOB = "a job"
    SETTING = "shared configuration"
    MESSAGE = "a message to people"
    RECORD = "a shared record"
    DOCUMENT = "a document"
    WORK = "a work item"
    HANDLE = "a transient handle"
    UNKNOWN = "something unknown"


_VERBS: Final = {
    Act.COMPUTE: """
        autocomplete beautify calculate classify compare compose compress compute confirm convert decode
        demonstrate detect draw echo encode estimate evaluate explain format generate geocode gzip hash help
        lint minify normalize parse ping plan preview rank recommend render score simulate suggest summarize
        think tokenize translate validate visualize""",
    Act.READ: """
        aggregate analyse analyze answer ask assess audit browse capture check count crawl describe diagnose
        diff discover download enrich examine explore export extract fetch filter find get glob grep has hget
        hgetall hlen hover identify inspect introspect investigate is know list llen locate look lookup lrange
        match measure mget monitor observe peek poll profile ps query read receive report retrieve review sample
        scan scard scrape screenshot scroll search see show smembers stat tail test trace transcribe
        troubleshoot verify view wait watch whoami xlen xrange zcard zrange zscore""",
    Act.CREATE: """
        add attach build clone commit copy create draft duplicate fork hset import incr index ingest init
        initialize insert link lpush make mkdir new place provision put record register remember rpush sadd save
        setex setup stage stash store touch upload upsert xadd zadd""",
    Act.UPDATE: """
        accept acknowledge adjust alter amend append approve archive assign bind cas categorize change checkout
        close complete configure correct cut decline decr decrease demote disable edit enable escalate expand
        extend finalize fix hide increase increment join leave lower maintain manage merge migrate modify mount
        move mute navigate open optimize override overwrite pair patch prioritize raise reassign rebase reject
        rename reopen reorder reorganize repair replace reschedule reset resize resolve restore rewrite rollback
        rotate set silence snooze sort squash switch sync toggle transform transition tune turn unarchive
        unassign unbind unmount unmute unpair unsubscribe update upgrade vacuum write""",
    Act.MARK: """
        annotate bookmark comment downvote follow label like mark pin react star tag unfollow unlike unmark
        unpin unstar untag upvote""",
    Act.DELETE: """
        clean cleanup clear del delete deprovision deregister destroy detach discard drop empty erase evict
        expire expunge flush flushall forget hdel invalidate lpop lrem ltrim prune purge remove rm rmdir rpop
        shred spop srem teardown trash truncate uninstall unlink unregister wipe xdel xtrim zrem""",
    Act.SEND: """
        broadcast click dial dm drag email fill forward invite mail message notify post press publish push reply
        send share sms submit tweet""",
    Act.RUN: "bash call eval exec execute interact invoke perform process request run shell ssh sudo transact",
    Act.START: """
        activate authenticate backup begin boot enqueue launch login logout replay rerun resume retry schedule
        signin spawn start subscribe trigger""",
    Act.STOP: """
        abort cancel cordon deactivate disconnect drain end halt kill pause quit reboot restart shutdown stop
        suspend terminate""",
    Act.DEPLOY: "apply cutover deploy failover install promote redeploy release rollout scale",
    Act.GRANT: """
        allow assume authorize ban block deauthorize delegate deny elevate grant impersonate lock permit revoke
        unblock unlock whitelist""",
    Act.PAY: """
        bid buy charge deposit donate exercise liquidate mint pay payout purchase redeem refund sell settle
        stake swap trade transfer wire withdraw""",
}

_READ: Final = {
    Stake.SECRET: """
        apikey cookie credential env environ keypair mnemonic otp passphrase password secret token vault
        access_key api_key connection_string encryption_key environment_variable private_key provisioning_key
        secret_key seed_phrase""",
    Stake.PRIVATE: """
        access account activity answer attachment audio audit balance bill body budget call case change chat
        check client code command comment commit compliance contact content conversation cost customer data
        detection diff document drive element email encryption entity entry event expense failure file finding
        graph group history holding identity image inbox incident insight invoice issue item key lead log login
        mail margin meeting member membership memory message node note oauth opportunity order page patient
        payment permission person photo policy position post presentation problem procedure process profile
        project prospect provider pull recording relation relationship repository request response result review
        risk role row salary screenshot security sheet slide snapshot source spreadsheet statement subscription
        task thread threat ticket todo trace transaction transcript url usage user value video vulnerability
        website work worklog access_token activity_log admin_setting api_token connection_info data_access
        edge_function knowledge_base publishable_key raw_source report_data search_result source_code table_data
        user_permission worker_code""",
    Stake.FACT: """
        address agent alarm alert api app application article asn attack block blog board branch broker bucket
        build capability catalog category certificate chart cluster coin collection column company component
        config configuration connection connector console context coordinate country coupon currency dashboard
        database dataset datasource datastore date db deeplink definition dependency deployment direction
        directory distance dns doc docs documentation domain endpoint engine environment error example feature
        field folder food forecast format function gate gateway guide guideline health help host hub index info
        instance instruction ip job keyspace label language latency lesson level library license limit link list
        location market metadata metric model module namespace network news number option organization package
        paper parameter partition pipeline place plan plugin pod port practice price pricing product progress
        prompt queue quota quote ranking rate reaction recipe recommendation reference region registry release
        report route rule schedule schema server service setting shard site size sort stack stat statistic
        status stock storage store stream subnet suggestion sum summary symbol syntax table tag team template
        tenant term theme thing thinking ticker time timezone tool topic tree trend tutorial tx type unit uptime
        version volume vpc weather web webhook widget wiki word worker workflow workspace zone access_level
        attack_data best_practice build_status business_statistic call_status code_snippet cost_estimate
        dns_report dns_setting email_preview event_type file_type gate_status image_architecture image_tag
        issue_type job_status log_group log_stream message_type node_type order_book order_type permission_level
        policy_template project_stat query_status request_status result_format role_template security_guide
        session_status table_schema task_status token_price transaction_id user_guide""",
}

_CHANGED: Final = {
    Thing.ACCESS: """
        access account acl admin allowlist apikey authorization blocklist cert certificate cidr collaborator
        credential dns domain encryption entitlement env firewall grant group iam identity keypair login member
        membership mfa nameserver network owner passphrase password permission policy principal privilege rbac
        role route saml scope secret security share sharing ssh sso subnet token user vault vpn waf whitelist
        zone access_key access_list api_key deploy_key dns_record policy_rule private_key public_access
        resource_policy role_assignment security_group service_account sign_in ssh_key user_group""",
    Thing.MONEY: """
        charge deposit escrow fund loan mandate order payment payout payroll position purchase refund salary
        stake subscription trade transaction transfer withdrawal gtt_order reserved_instance saving_plan""",
    Thing.BILLING: """
        bill coupon discount dispute estimate expense invoice price promotion quote receipt tax billing_plan
        payment_link payment_method""",
    Thing.LIVE: """
        ansible api app application broker bucket cdn chart cluster collection container database datacenter
        dataset datasource datastore db deployment disk distribution docker drive endpoint engine environment
        exchange extension farm fleet function gateway graph helm host infrastructure instance k8s keyspace
        kubectl kubernetes lambda loadbalancer machine mailbox model node organization package partition
        platform plugin pod prod production project proxy pulumi queue registry replica repo repository resource
        runtime server service shard site stack storage store stream system table tenant terraform topic vhost
        vm volume warehouse webapp website worker workload workspace xray access_point cache_cluster data_source
        edge_function git_ref hosted_zone image_set jump_host load_balancer node_pool patient_metadata
        patient_study update_action webapp_frontend""",
    Thing.PROGRAM: """
        bash cell cli cmd code command cypher ddl dml expression javascript macro migration notebook powershell
        process program python query script shell sql statement terminal code_block""",
    Thing.JOB: """
        action agent automation backup batch benchmark build execution export flow import job pipeline recipe
        run training transformation translation workflow batch_translation""",
    Thing.SETTING: """
        alarm alert campaign channel config configuration connector customization dashboard feature flag hook
        index integration logo option parameter preference property rule schedule setting template theme
        usergroup variable webhook alert_group alert_rule brand_theme component_property config_value
        param_group parameter_group translation_memory""",
    Thing.MESSAGE: """
        announcement broadcast call case communication conversation email event incident invite mail meeting
        message newsletter notification post publication reply review sms thread tweet pull_request support_case""",
    Thing.RECORD: """
        content cron data deal element field image item key lead list object opportunity patient photo prospect
        record relation row state status value video customer_record document_content issue_status member_record
        namespace_record page_content static_content stored_object ticket_status""",
    Thing.DOCUMENT: "doc document file page pdf presentation sheet slide spreadsheet text worksheet",
    Thing.WORK: """
        analysis annotation attachment block board bookmark branch brand cache card checklist child column
        comment completion contact counter customer description dir directory draft entity epic expiration
        favorite folder form issue label logging milestone namespace note observation reaction reminder section
        sprint story subtask tag task terminology ticket title todo trigger worklog automatic_analysis
        bucket_description child_page drive_file event_trigger memory_event oauth_url page_comment pr_comment
        search_index simulated_logging vector_index""",
    Thing.HANDLE: """
        auth browser connection crawl cursor discovery generation handle scan search session simulation tab
        window analysis_run browser_session config_check database_connection db_session insight_query logs_query
        monitor_run query_execution security_scan upload_session""",
}

# What a level means for a reader's act: everything not listed under an act takes the UNKNOWN row.
READ_LEVEL: Final = {
    Stake.SECRET: Level.HIGH,
    Stake.PRIVATE: Level.MEDIUM,
    Stake.FACT: Level.LOW,
    Stake.UNKNOWN: Level.MEDIUM,
}
_L, _M, _H, _C = Level.LOW, Level.MEDIUM, Level.HIGH, Level.CRITICAL
_ORDER: Final = (
    Thing.ACCESS, Thing.MONEY, Thing.BILLING, Thing.LIVE, Thing.PROGRAM, Thing.JOB, Thing.SETTING, Thing.MESSAGE,
    Thing.RECORD, Thing.DOCUMENT, Thing.WORK, Thing.HANDLE, Thing.UNKNOWN,
)  # fmt: skip
CHANGE_LEVEL: Final = {
    act: dict(zip(_ORDER, row, strict=True))
    for act, row in {
        #             access money bill live prog job set msg rec doc work hand unknown
        Act.CREATE:  (_C, _C, _H, _H, _H, _H, _H, _H, _H, _M, _M, _M, _H),
        Act.UPDATE:  (_C, _C, _H, _C, _H, _H, _H, _H, _H, _H, _M, _M, _H),
        Act.MARK:    (_M, _M, _M, _M, _M, _M, _M, _M, _M, _M, _M, _M, _M),
        Act.DELETE:  (_C, _C, _C, _C, _H, _H, _H, _H, _H, _H, _H, _M, _H),
        Act.SEND:    (_C, _C, _H, _H, _H, _H, _H, _H, _H, _H, _H, _H, _H),
        Act.RUN:     (_C, _C, _H, _H, _C, _H, _H, _H, _H, _H, _H, _M, _H),
        Act.START:   (_C, _C, _H, _H, _C, _H, _H, _H, _H, _M, _M, _M, _H),
        Act.STOP:    (_C, _C, _H, _C, _H, _H, _H, _H, _H, _H, _M, _M, _H),
        Act.DEPLOY:  (_C, _C, _C, _C, _C, _C, _C, _C, _H, _H, _H, _H, _C),
        Act.GRANT:   (_C, _C, _C, _C, _C, _C, _C, _C, _C, _C, _C, _C, _C),
        Act.PAY:     (_C, _C, _C, _C, _C, _C, _C, _C, _C, _C, _C, _C, _C),
        Act.UNKNOWN: (_C, _C, _H, _H, _H, _H, _H, _H, _H, _H, _H, _H, _H),
    }.items()
}  # fmt: skip
# What an agent does in a browser: input can submit anything, pictures show what is on the page, moving shows nothing.
BROWSER: Final = {
    Level.HIGH: word_set(
        "click type fill press select drag drop navigate goto evaluate execute upload submit interact tap run"
    ),
    Level.MEDIUM: word_set("screenshot snapshot content text html read get extract"),
    Level.LOW: word_set("scroll wheel resize hover back forward wait tabs viewport"),
}

# Verbs that are as often nouns; they count as verbs only in first or last place.
NOUNS_TOO: Final = word_set(
    """access action answer audit backup bash block book bookmark branch build call change charge check clone comment
    commit copy count crawl deposit diff draft email end file filter form format function hash help index issue job
    key label like link list lock log login look mail mark message monitor open order pin place plan policy post
    preview process profile project purchase query rank read record refund release report request review run sample
    scan score screenshot set share shell sort stage stake star start stat store stream sync tag task test touch
    trace trade transfer trigger turn type value watch"""
)
# Heads that say little: what stands before them decides what is at stake (a DNS record, a firewall rule).
GENERIC: Final = word_set("config configuration entry item list method plan record rule set setting state status value")
# Products in front of a name say where, not what.
PRODUCTS: Final = word_set(
    """ai aws azure bigquery cloudflare confluence docker dropbox ec2 excel figma gcp git github gitlab gmail google
    helm hubspot jira k8s kafka kubernetes linear mcp mongo mongodb mysql notion outlook pg postgres postgresql
    redis s3 salesforce sentry shopify slack snowflake spotify sqlite stripe supabase teams telegram terraform
    trello twilio vercel wikipedia youtube zendesk"""
)
# Deletes more than one thing at once.
BULK: Final = word_set("all batch bulk many mass every entire multiple flush purge wipe truncate")
# Between the object and what only says more about it.
STOPS: Final = word_set("by for from of to in on with into as at via using per within without through against")

# Verbs that mean something else over certain things.
INSTEAD: Final = {
    ("format", Thing.LIVE): Act.DELETE,
    ("rotate", Thing.RECORD): Act.GRANT,  # keys are records too
}

VERBS: Final = {word: act for act, words in _VERBS.items() for word in words.split()}
READ_NOUNS: Final = {word: stake for stake, words in _READ.items() for word in words.split()}
CHANGED_NOUNS: Final = {word: thing for thing, words in _CHANGED.items() for word in words.split()}
