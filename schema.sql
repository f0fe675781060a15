-- The tables of a Myelin server: SQLite, as D1 runs it. The only definition of tables there is.
--
-- Tables, columns, types and keys are those of Synapse (schema version 94);
-- what differs, and why, is in docs/schema.md.
--
-- Every statement can be run again without harm, and ends with a semicolon at the end of a line.
-- A comment is a line of its own.

-- Schema bookkeeping and positions

CREATE TABLE IF NOT EXISTS schema_version (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    version INTEGER NOT NULL,
    upgraded BOOL NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS schema_compat_version (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    compat_version INTEGER NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS applied_schema_deltas (
    version INTEGER NOT NULL,
    file TEXT NOT NULL,
    UNIQUE (version, file)
);

CREATE TABLE IF NOT EXISTS applied_module_schemas (
    module_name TEXT NOT NULL,
    file TEXT NOT NULL,
    UNIQUE (module_name, file)
);

CREATE TABLE IF NOT EXISTS stream_positions (
    stream_name TEXT NOT NULL,
    instance_name TEXT NOT NULL,
    stream_id BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS stream_positions_idx
    ON stream_positions (stream_name, instance_name);

CREATE TABLE IF NOT EXISTS scheduled_tasks (
    id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    status TEXT NOT NULL,
    timestamp BIGINT NOT NULL,
    resource_id TEXT,
    params TEXT,
    result TEXT,
    error TEXT
);

-- Accounts, devices and access

CREATE TABLE IF NOT EXISTS users (
    name TEXT UNIQUE,
    password_hash TEXT,
    creation_ts BIGINT,
    admin SMALLINT NOT NULL DEFAULT 0,
    upgrade_ts BIGINT,
    is_guest SMALLINT NOT NULL DEFAULT 0,
    appservice_id TEXT,
    consent_version TEXT,
    consent_server_notice_sent TEXT,
    user_type TEXT DEFAULT NULL,
    deactivated SMALLINT NOT NULL DEFAULT 0,
    shadow_banned BOOLEAN,
    consent_ts bigint,
    approved BOOLEAN,
    locked BOOLEAN NOT NULL DEFAULT FALSE,
    suspended BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE IF NOT EXISTS erased_users (
    user_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS erased_users_user
    ON erased_users (user_id);

CREATE TABLE IF NOT EXISTS users_pending_deactivation (
    user_id TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS account_validity (
    user_id TEXT PRIMARY KEY,
    expiration_ts_ms BIGINT NOT NULL,
    email_sent BOOLEAN NOT NULL,
    renewal_token TEXT,
    token_used_ts_ms BIGINT
);

CREATE TABLE IF NOT EXISTS access_tokens (
    id BIGINT PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT,
    token TEXT NOT NULL UNIQUE,
    valid_until_ms BIGINT,
    puppets_user_id TEXT,
    last_validated BIGINT,
    refresh_token_id BIGINT REFERENCES refresh_tokens (id) ON DELETE CASCADE,
    used BOOLEAN
);
CREATE INDEX IF NOT EXISTS access_tokens_device_id
    ON access_tokens (user_id, device_id);
CREATE INDEX IF NOT EXISTS access_tokens_refresh_token_id_idx
    ON access_tokens (refresh_token_id);

CREATE TABLE IF NOT EXISTS refresh_tokens (
    id BIGINT PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    token TEXT NOT NULL UNIQUE,
    next_token_id BIGINT REFERENCES refresh_tokens (id) ON DELETE CASCADE,
    expiry_ts BIGINT DEFAULT NULL,
    ultimate_session_expiry_ts BIGINT DEFAULT NULL
);
CREATE INDEX IF NOT EXISTS refresh_tokens_next_token_id
    ON refresh_tokens (next_token_id) WHERE next_token_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS login_tokens (
    token TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    expiry_ts BIGINT NOT NULL,
    used_ts BIGINT,
    auth_provider_id TEXT,
    auth_provider_session_id TEXT
);

CREATE TABLE IF NOT EXISTS open_id_tokens (
    token TEXT NOT NULL PRIMARY KEY,
    ts_valid_until_ms bigint NOT NULL,
    user_id TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS registration_tokens (
    token TEXT NOT NULL UNIQUE,
    uses_allowed INT,
    pending INT NOT NULL,
    completed INT NOT NULL,
    expiry_time BIGINT
);

CREATE TABLE IF NOT EXISTS ratelimit_override (
    user_id TEXT NOT NULL,
    messages_per_second BIGINT,
    burst_count BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS ratelimit_override_idx
    ON ratelimit_override (user_id);

CREATE TABLE IF NOT EXISTS per_user_experimental_features (
    user_id TEXT NOT NULL REFERENCES users (name),
    feature TEXT NOT NULL,
    enabled BOOLEAN DEFAULT FALSE,
    PRIMARY KEY (user_id, feature)
);

CREATE TABLE IF NOT EXISTS monthly_active_users (
    user_id TEXT NOT NULL,
    timestamp BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS monthly_active_users_users
    ON monthly_active_users (user_id);

CREATE TABLE IF NOT EXISTS user_daily_visits (
    user_id TEXT NOT NULL,
    device_id TEXT,
    timestamp BIGINT NOT NULL,
    user_agent TEXT
);

CREATE TABLE IF NOT EXISTS user_ips (
    user_id TEXT NOT NULL,
    access_token TEXT NOT NULL,
    device_id TEXT,
    ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    last_seen BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS user_ips_user_token_ip_unique_index
    ON user_ips (user_id, access_token, ip);

CREATE TABLE IF NOT EXISTS devices (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    display_name TEXT,
    last_seen BIGINT,
    ip TEXT,
    user_agent TEXT,
    hidden BOOLEAN DEFAULT 0,
    UNIQUE (user_id, device_id)
);

CREATE TABLE IF NOT EXISTS dehydrated_devices (
    user_id TEXT NOT NULL PRIMARY KEY,
    device_id TEXT NOT NULL,
    device_data TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS device_auth_providers (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    auth_provider_id TEXT NOT NULL,
    auth_provider_session_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS device_auth_providers_devices
    ON device_auth_providers (user_id, device_id);

CREATE TABLE IF NOT EXISTS sessions (
    session_type TEXT NOT NULL,
    session_id TEXT NOT NULL,
    value TEXT NOT NULL,
    expiry_time_ms BIGINT NOT NULL,
    UNIQUE (session_type, session_id)
);

CREATE TABLE IF NOT EXISTS ui_auth_sessions (
    session_id TEXT NOT NULL UNIQUE,
    creation_time BIGINT NOT NULL,
    serverdict TEXT NOT NULL,
    clientdict TEXT NOT NULL,
    uri TEXT NOT NULL,
    method TEXT NOT NULL,
    description TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS ui_auth_sessions_credentials (
    session_id TEXT NOT NULL REFERENCES ui_auth_sessions (session_id),
    stage_type TEXT NOT NULL,
    result TEXT NOT NULL,
    UNIQUE (session_id, stage_type)
);

CREATE TABLE IF NOT EXISTS ui_auth_sessions_ips (
    session_id TEXT NOT NULL REFERENCES ui_auth_sessions (session_id),
    ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    UNIQUE (session_id, ip, user_agent)
);

CREATE TABLE IF NOT EXISTS user_external_ids (
    auth_provider TEXT NOT NULL,
    external_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    UNIQUE (auth_provider, external_id)
);
CREATE INDEX IF NOT EXISTS user_external_ids_user_id_idx
    ON user_external_ids (user_id);

CREATE TABLE IF NOT EXISTS user_threepids (
    user_id TEXT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    validated_at BIGINT NOT NULL,
    added_at BIGINT NOT NULL,
    UNIQUE (medium, address)
);
CREATE INDEX IF NOT EXISTS user_threepids_user_id
    ON user_threepids (user_id);

CREATE TABLE IF NOT EXISTS user_threepid_id_server (
    user_id TEXT NOT NULL,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    id_server TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS user_threepid_id_server_idx
    ON user_threepid_id_server (user_id, medium, address, id_server);

CREATE TABLE IF NOT EXISTS threepid_guest_access_tokens (
    medium TEXT,
    address TEXT,
    guest_access_token TEXT,
    first_inviter TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS threepid_guest_access_tokens_index
    ON threepid_guest_access_tokens (medium, address);

CREATE TABLE IF NOT EXISTS threepid_validation_session (
    session_id TEXT PRIMARY KEY,
    medium TEXT NOT NULL,
    address TEXT NOT NULL,
    client_secret TEXT NOT NULL,
    last_send_attempt BIGINT NOT NULL,
    validated_at BIGINT
);

CREATE TABLE IF NOT EXISTS threepid_validation_token (
    token TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    next_link TEXT,
    expires BIGINT NOT NULL
);

-- Profiles, account data, filters, presence

CREATE TABLE IF NOT EXISTS profiles (
    user_id TEXT NOT NULL UNIQUE,
    displayname TEXT,
    avatar_url TEXT,
    full_user_id TEXT,
    fields JSONB
);
CREATE UNIQUE INDEX IF NOT EXISTS profiles_full_user_id_key
    ON profiles (full_user_id);

CREATE TABLE IF NOT EXISTS profile_updates (
    stream_id BIGINT NOT NULL PRIMARY KEY,
    instance_name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    action TEXT NOT NULL,
    affected_fields JSONB,
    inserted_ts BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS profile_updates_per_user (
    stream_id BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    inserted_ts BIGINT NOT NULL,
    PRIMARY KEY (user_id, stream_id)
);

CREATE TABLE IF NOT EXISTS account_data (
    user_id TEXT NOT NULL,
    account_data_type TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    content TEXT NOT NULL,
    instance_name TEXT,
    UNIQUE (user_id, account_data_type)
);
CREATE INDEX IF NOT EXISTS account_data_stream_id
    ON account_data (user_id, stream_id);

CREATE TABLE IF NOT EXISTS room_account_data (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    account_data_type TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    content TEXT NOT NULL,
    instance_name TEXT,
    UNIQUE (user_id, room_id, account_data_type)
);
CREATE INDEX IF NOT EXISTS room_account_data_stream_id
    ON room_account_data (user_id, stream_id);

CREATE TABLE IF NOT EXISTS room_tags (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    tag TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (user_id, room_id, tag)
);

CREATE TABLE IF NOT EXISTS room_tags_revisions (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    instance_name TEXT,
    UNIQUE (user_id, room_id)
);

CREATE TABLE IF NOT EXISTS ignored_users (
    ignorer_user_id TEXT NOT NULL,
    ignored_user_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS ignored_users_uniqueness
    ON ignored_users (ignorer_user_id, ignored_user_id);

CREATE TABLE IF NOT EXISTS user_filters (
    user_id TEXT NOT NULL,
    filter_id BIGINT NOT NULL,
    filter_json BYTEA NOT NULL,
    full_user_id TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS user_filters_full_user_id_unique
    ON user_filters (full_user_id, filter_id);
CREATE UNIQUE INDEX IF NOT EXISTS user_filters_unique
    ON user_filters (user_id, filter_id);

CREATE TABLE IF NOT EXISTS presence_stream (
    stream_id BIGINT,
    user_id TEXT,
    state TEXT,
    last_active_ts BIGINT,
    last_federation_update_ts BIGINT,
    last_user_sync_ts BIGINT,
    status_msg TEXT,
    currently_active BOOLEAN,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS presence_stream_id
    ON presence_stream (stream_id, user_id);
CREATE INDEX IF NOT EXISTS presence_stream_user_id
    ON presence_stream (user_id);

CREATE TABLE IF NOT EXISTS users_to_send_full_presence_to (
    user_id TEXT PRIMARY KEY REFERENCES users (name),
    presence_stream_id BIGINT
);

-- Events and the graph

CREATE TABLE IF NOT EXISTS events (
    stream_ordering INTEGER PRIMARY KEY,
    topological_ordering BIGINT NOT NULL,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    room_id TEXT NOT NULL,
    content TEXT,
    unrecognized_keys TEXT,
    processed BOOL NOT NULL,
    outlier BOOL NOT NULL,
    depth BIGINT NOT NULL DEFAULT 0,
    origin_server_ts BIGINT,
    received_ts BIGINT,
    sender TEXT,
    contains_url BOOLEAN,
    instance_name TEXT,
    state_key TEXT DEFAULT NULL,
    rejection_reason TEXT DEFAULT NULL
);
CREATE INDEX IF NOT EXISTS events_order_room
    ON events (room_id, topological_ordering, stream_ordering);
CREATE INDEX IF NOT EXISTS events_room_stream
    ON events (room_id, stream_ordering);

CREATE TABLE IF NOT EXISTS event_json (
    event_id TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    internal_metadata TEXT NOT NULL,
    json TEXT NOT NULL,
    format_version INTEGER
);

CREATE TABLE IF NOT EXISTS state_events (
    event_id TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    prev_state TEXT
);

CREATE TABLE IF NOT EXISTS event_edges (
    event_id TEXT NOT NULL,
    prev_event_id TEXT NOT NULL,
    room_id TEXT,
    is_state BOOL NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS event_edges_event_id_prev_event_id_idx
    ON event_edges (event_id, prev_event_id);

CREATE TABLE IF NOT EXISTS event_forward_extremities (
    event_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    UNIQUE (event_id, room_id)
);
CREATE INDEX IF NOT EXISTS ev_extrem_room
    ON event_forward_extremities (room_id);

CREATE TABLE IF NOT EXISTS event_backward_extremities (
    event_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    UNIQUE (event_id, room_id)
);
CREATE INDEX IF NOT EXISTS ev_b_extrem_room
    ON event_backward_extremities (room_id);

CREATE TABLE IF NOT EXISTS event_auth (
    event_id TEXT NOT NULL,
    auth_id TEXT NOT NULL,
    room_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS evauth_edges_id
    ON event_auth (event_id);

CREATE TABLE IF NOT EXISTS event_auth_chains (
    event_id TEXT PRIMARY KEY,
    chain_id BIGINT NOT NULL,
    sequence_number BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS event_auth_chains_c_seq_index
    ON event_auth_chains (chain_id, sequence_number);

CREATE TABLE IF NOT EXISTS event_auth_chain_links (
    origin_chain_id BIGINT NOT NULL,
    origin_sequence_number BIGINT NOT NULL,
    target_chain_id BIGINT NOT NULL,
    target_sequence_number BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_auth_chain_links_idx
    ON event_auth_chain_links (origin_chain_id, target_chain_id);

CREATE TABLE IF NOT EXISTS event_auth_chain_to_calculate (
    event_id TEXT PRIMARY KEY,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS event_txn_id_device_id (
    event_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    inserted_ts BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS event_txn_id_device_id_event_id
    ON event_txn_id_device_id (event_id);
CREATE UNIQUE INDEX IF NOT EXISTS event_txn_id_device_id_txn_id2
    ON event_txn_id_device_id (user_id, device_id, room_id, txn_id);

CREATE TABLE IF NOT EXISTS event_relations (
    event_id TEXT NOT NULL,
    relates_to_id TEXT NOT NULL,
    relation_type TEXT NOT NULL,
    aggregation_key TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS event_relations_id
    ON event_relations (event_id);
CREATE INDEX IF NOT EXISTS event_relations_relates
    ON event_relations (relates_to_id, relation_type, aggregation_key);

CREATE TABLE IF NOT EXISTS event_labels (
    event_id TEXT,
    label TEXT,
    room_id TEXT NOT NULL,
    topological_ordering BIGINT NOT NULL,
    PRIMARY KEY (event_id, label)
);

CREATE TABLE IF NOT EXISTS event_expiry (
    event_id TEXT PRIMARY KEY,
    expiry_ts BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_expiry_expiry_ts_idx ON event_expiry (expiry_ts);

CREATE TABLE IF NOT EXISTS event_failed_pull_attempts (
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    num_attempts INT NOT NULL,
    last_attempt_ts BIGINT NOT NULL,
    last_cause TEXT NOT NULL,
    PRIMARY KEY (room_id, event_id)
);

CREATE TABLE IF NOT EXISTS event_reports (
    id BIGINT NOT NULL PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reason TEXT,
    content TEXT
);

CREATE TABLE IF NOT EXISTS redactions (
    event_id TEXT NOT NULL UNIQUE,
    redacts TEXT NOT NULL,
    have_censored BOOL NOT NULL DEFAULT false,
    received_ts BIGINT,
    recheck boolean NOT NULL DEFAULT true
);
CREATE INDEX IF NOT EXISTS redactions_redacts
    ON redactions (redacts);

CREATE TABLE IF NOT EXISTS rejections (
    event_id TEXT NOT NULL UNIQUE,
    reason TEXT NOT NULL,
    last_check TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS room_ban_redactions (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    redacting_event_id TEXT NOT NULL,
    redact_end_ordering bigint DEFAULT NULL,
    UNIQUE (room_id, user_id)
);

CREATE TABLE IF NOT EXISTS delayed_events (
    delay_id TEXT NOT NULL,
    user_localpart TEXT NOT NULL,
    device_id TEXT,
    delay BIGINT NOT NULL,
    send_ts BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    state_key TEXT,
    origin_server_ts BIGINT,
    content TEXT NOT NULL,
    is_processed BOOLEAN NOT NULL DEFAULT FALSE,
    sticky_duration_ms BIGINT,
    PRIMARY KEY (user_localpart, delay_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS delayed_events_idx
    ON delayed_events (delay_id);
CREATE INDEX IF NOT EXISTS myelin_delayed_events_room
    ON delayed_events (room_id, event_type, state_key);

CREATE TABLE IF NOT EXISTS delayed_events_stream_pos (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS sticky_events (
    stream_id INTEGER NOT NULL PRIMARY KEY,
    instance_name TEXT NOT NULL,
    event_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    event_stream_ordering INTEGER NOT NULL UNIQUE,
    sender TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS threads (
    room_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    latest_event_id TEXT NOT NULL,
    topological_ordering BIGINT NOT NULL,
    stream_ordering BIGINT NOT NULL,
    UNIQUE (room_id, thread_id)
);

CREATE TABLE IF NOT EXISTS thread_subscriptions (
    stream_id INTEGER NOT NULL PRIMARY KEY,
    instance_name TEXT NOT NULL,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (name),
    subscribed BOOLEAN NOT NULL,
    automatic BOOLEAN NOT NULL,
    unsubscribed_at_stream_ordering BIGINT,
    unsubscribed_at_topological_ordering BIGINT,
    UNIQUE (room_id, event_id, user_id)
);
CREATE INDEX IF NOT EXISTS thread_subscriptions_by_user
    ON thread_subscriptions (user_id, stream_id);

CREATE TABLE IF NOT EXISTS timeline_gaps (
    room_id TEXT NOT NULL,
    instance_name TEXT NOT NULL,
    stream_ordering BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS timeline_gaps_room_id
    ON timeline_gaps (room_id, stream_ordering);

CREATE TABLE IF NOT EXISTS ex_outlier_stream (
    event_stream_ordering BIGINT NOT NULL PRIMARY KEY,
    event_id TEXT NOT NULL,
    state_group BIGINT NOT NULL,
    instance_name TEXT
);

CREATE TABLE IF NOT EXISTS federation_inbound_events_staging (
    origin TEXT NOT NULL,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    received_ts BIGINT NOT NULL,
    event_json TEXT NOT NULL,
    internal_metadata TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS federation_inbound_events_staging_instance_event
    ON federation_inbound_events_staging (origin, event_id);

CREATE TABLE IF NOT EXISTS msc4242_state_dag_edges (
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    prev_state_event_id TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS msc4242_state_dag_edges_key
    ON msc4242_state_dag_edges (room_id, event_id, prev_state_event_id);

CREATE TABLE IF NOT EXISTS msc4242_state_dag_forward_extremities (
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL UNIQUE
);

-- State

CREATE TABLE IF NOT EXISTS state_groups (
    id BIGINT PRIMARY KEY,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS state_groups_room_id_idx
    ON state_groups (room_id);

CREATE TABLE IF NOT EXISTS state_groups_state (
    state_group BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS state_groups_state_type_idx
    ON state_groups_state (state_group, type, state_key);

CREATE TABLE IF NOT EXISTS state_group_edges (
    state_group BIGINT NOT NULL,
    prev_state_group BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS state_group_edges_unique_idx
    ON state_group_edges (state_group, prev_state_group);

CREATE TABLE IF NOT EXISTS event_to_state_groups (
    event_id TEXT NOT NULL UNIQUE,
    state_group BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS state_groups_pending_deletion (
    sequence_number INTEGER PRIMARY KEY,
    state_group BIGINT NOT NULL,
    insertion_ts BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS state_groups_pending_deletion_state_group
    ON state_groups_pending_deletion (state_group);

CREATE TABLE IF NOT EXISTS current_state_events (
    event_id TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    membership TEXT,
    event_stream_ordering BIGINT,
    UNIQUE (room_id, type, state_key)
);

CREATE TABLE IF NOT EXISTS current_state_delta_stream (
    stream_id BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_id TEXT,
    prev_event_id TEXT,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS current_state_delta_stream_idx
    ON current_state_delta_stream (stream_id);
CREATE INDEX IF NOT EXISTS current_state_delta_stream_room_idx
    ON current_state_delta_stream (room_id, stream_id);

CREATE TABLE IF NOT EXISTS partial_state_rooms (
    room_id TEXT PRIMARY KEY,
    device_lists_stream_id BIGINT NOT NULL DEFAULT 0,
    join_event_id TEXT,
    joined_via TEXT
);

CREATE TABLE IF NOT EXISTS partial_state_rooms_servers (
    room_id TEXT NOT NULL REFERENCES partial_state_rooms (room_id),
    server_name TEXT NOT NULL,
    UNIQUE (room_id, server_name)
);

CREATE TABLE IF NOT EXISTS partial_state_events (
    room_id TEXT NOT NULL REFERENCES partial_state_rooms (room_id),
    event_id TEXT NOT NULL UNIQUE
);
CREATE INDEX IF NOT EXISTS partial_state_events_room_id_idx
    ON partial_state_events (room_id);

CREATE TABLE IF NOT EXISTS un_partial_stated_room_stream (
    stream_id BIGINT NOT NULL PRIMARY KEY,
    instance_name TEXT NOT NULL,
    room_id TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS un_partial_stated_event_stream (
    stream_id BIGINT NOT NULL PRIMARY KEY,
    instance_name TEXT NOT NULL,
    event_id TEXT NOT NULL,
    rejection_status_changed BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS un_partial_stated_event_stream_room_id
    ON un_partial_stated_event_stream (event_id);

-- Rooms and membership

CREATE TABLE IF NOT EXISTS rooms (
    room_id TEXT NOT NULL PRIMARY KEY,
    is_public BOOL,
    creator TEXT,
    room_version TEXT,
    has_auth_chain_index BOOLEAN
);
CREATE INDEX IF NOT EXISTS public_room_index
    ON rooms (is_public);

CREATE TABLE IF NOT EXISTS room_depth (
    room_id TEXT NOT NULL UNIQUE,
    min_depth INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS room_aliases (
    room_alias TEXT NOT NULL UNIQUE,
    room_id TEXT NOT NULL,
    creator TEXT
);
CREATE INDEX IF NOT EXISTS room_aliases_id
    ON room_aliases (room_id);

CREATE TABLE IF NOT EXISTS room_alias_servers (
    room_alias TEXT NOT NULL,
    server TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS room_alias_servers_alias
    ON room_alias_servers (room_alias);

CREATE TABLE IF NOT EXISTS room_memberships (
    event_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    room_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    forgotten INTEGER DEFAULT 0,
    display_name TEXT,
    avatar_url TEXT,
    event_stream_ordering BIGINT,
    participant BOOLEAN DEFAULT FALSE
);
CREATE INDEX IF NOT EXISTS room_membership_user_room_idx
    ON room_memberships (user_id, room_id);

CREATE TABLE IF NOT EXISTS local_current_membership (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    event_stream_ordering BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS local_current_membership_idx
    ON local_current_membership (user_id, room_id);
CREATE INDEX IF NOT EXISTS local_current_membership_room_idx
    ON local_current_membership (room_id);

CREATE TABLE IF NOT EXISTS room_retention (
    room_id TEXT,
    event_id TEXT,
    min_lifetime BIGINT,
    max_lifetime BIGINT,
    PRIMARY KEY (room_id, event_id)
);

CREATE TABLE IF NOT EXISTS room_reports (
    id BIGINT NOT NULL PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS user_reports (
    id BIGINT NOT NULL PRIMARY KEY,
    received_ts BIGINT NOT NULL,
    target_user_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    reason TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS blocked_rooms (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS blocked_rooms_idx
    ON blocked_rooms (room_id);

CREATE TABLE IF NOT EXISTS room_forgetter_stream_pos (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS sliding_sync_joined_rooms (
    room_id TEXT NOT NULL PRIMARY KEY,
    event_stream_ordering BIGINT NOT NULL,
    bump_stamp BIGINT,
    room_type TEXT,
    room_name TEXT,
    is_encrypted BOOLEAN NOT NULL DEFAULT FALSE,
    tombstone_successor_room_id TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS sliding_sync_joined_rooms_event_stream_ordering
    ON sliding_sync_joined_rooms (event_stream_ordering);

CREATE TABLE IF NOT EXISTS sliding_sync_membership_snapshots (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    membership_event_id TEXT NOT NULL,
    membership TEXT NOT NULL,
    forgotten INTEGER NOT NULL DEFAULT 0,
    event_stream_ordering BIGINT NOT NULL,
    event_instance_name TEXT NOT NULL,
    has_known_state BOOLEAN NOT NULL DEFAULT FALSE,
    room_type TEXT,
    room_name TEXT,
    is_encrypted BOOLEAN NOT NULL DEFAULT FALSE,
    tombstone_successor_room_id TEXT,
    PRIMARY KEY (room_id, user_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS sliding_sync_membership_snapshots_event_stream_ordering
    ON sliding_sync_membership_snapshots (event_stream_ordering);
CREATE INDEX IF NOT EXISTS sliding_sync_membership_snapshots_user_id_stream_ordering
    ON sliding_sync_membership_snapshots (user_id, event_stream_ordering);

-- Receipts and push

CREATE TABLE IF NOT EXISTS receipts_linearized (
    stream_id BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    receipt_type TEXT NOT NULL,
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    thread_id TEXT,
    event_stream_ordering BIGINT,
    data TEXT NOT NULL,
    instance_name TEXT,
    UNIQUE (room_id, receipt_type, user_id, thread_id)
);
CREATE INDEX IF NOT EXISTS receipts_linearized_id
    ON receipts_linearized (stream_id);
CREATE UNIQUE INDEX IF NOT EXISTS receipts_linearized_unique_index
    ON receipts_linearized (room_id, receipt_type, user_id) WHERE thread_id IS NULL;

CREATE TABLE IF NOT EXISTS receipts_graph (
    room_id TEXT NOT NULL,
    receipt_type TEXT NOT NULL,
    user_id TEXT NOT NULL,
    event_ids TEXT NOT NULL,
    thread_id TEXT,
    data TEXT NOT NULL,
    UNIQUE (room_id, receipt_type, user_id, thread_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS receipts_graph_unique_index
    ON receipts_graph (room_id, receipt_type, user_id) WHERE thread_id IS NULL;

CREATE TABLE IF NOT EXISTS event_push_actions (
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    profile_tag VARCHAR(32),
    actions TEXT NOT NULL,
    topological_ordering BIGINT,
    stream_ordering BIGINT,
    notif SMALLINT,
    highlight SMALLINT,
    unread SMALLINT,
    thread_id TEXT,
    UNIQUE (room_id, event_id, user_id, profile_tag),
    CONSTRAINT event_push_actions_thread_id CHECK (thread_id IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS myelin_event_push_actions_unread
    ON event_push_actions (user_id, room_id, stream_ordering);

CREATE TABLE IF NOT EXISTS event_push_summary (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    notif_count BIGINT NOT NULL,
    stream_ordering BIGINT NOT NULL,
    unread_count BIGINT,
    last_receipt_stream_ordering BIGINT,
    thread_id TEXT,
    CONSTRAINT event_push_summary_thread_id CHECK (thread_id IS NOT NULL)
);
CREATE UNIQUE INDEX IF NOT EXISTS event_push_summary_unique_index2
    ON event_push_summary (user_id, room_id, thread_id);

CREATE TABLE IF NOT EXISTS event_push_summary_stream_ordering (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_ordering BIGINT NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS event_push_summary_last_receipt_stream_id (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS push_rules (
    id BIGINT PRIMARY KEY,
    user_name TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    priority_class SMALLINT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    conditions TEXT NOT NULL,
    actions TEXT NOT NULL,
    UNIQUE (user_name, rule_id)
);

CREATE TABLE IF NOT EXISTS push_rules_enable (
    id BIGINT PRIMARY KEY,
    user_name TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    enabled SMALLINT,
    UNIQUE (user_name, rule_id)
);

CREATE TABLE IF NOT EXISTS push_rules_stream (
    stream_id BIGINT NOT NULL,
    event_stream_ordering BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    op TEXT NOT NULL,
    priority_class SMALLINT,
    priority INTEGER,
    conditions TEXT,
    actions TEXT,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS push_rules_stream_id
    ON push_rules_stream (stream_id);
CREATE INDEX IF NOT EXISTS push_rules_stream_user_stream_id
    ON push_rules_stream (user_id, stream_id);

CREATE TABLE IF NOT EXISTS pushers (
    id BIGINT PRIMARY KEY,
    user_name TEXT NOT NULL,
    access_token BIGINT DEFAULT NULL,
    profile_tag TEXT NOT NULL,
    kind TEXT NOT NULL,
    app_id TEXT NOT NULL,
    app_display_name TEXT NOT NULL,
    device_display_name TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    ts BIGINT NOT NULL,
    lang TEXT,
    data TEXT,
    last_stream_ordering INTEGER,
    last_success BIGINT,
    failing_since BIGINT,
    enabled BOOLEAN,
    device_id TEXT,
    instance_name TEXT,
    UNIQUE (app_id, pushkey, user_name)
);
CREATE INDEX IF NOT EXISTS myelin_pushers_user
    ON pushers (user_name);

CREATE TABLE IF NOT EXISTS deleted_pushers (
    stream_id BIGINT NOT NULL,
    app_id TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    user_id TEXT NOT NULL,
    instance_name TEXT
);

CREATE TABLE IF NOT EXISTS pusher_throttle (
    pusher BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    last_sent_ts BIGINT,
    throttle_ms BIGINT,
    PRIMARY KEY (pusher, room_id)
);

-- Devices of others, end-to-end encryption, to-device messages

CREATE TABLE IF NOT EXISTS e2e_device_keys_json (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    ts_added_ms BIGINT NOT NULL,
    key_json TEXT NOT NULL,
    UNIQUE (user_id, device_id)
);

CREATE TABLE IF NOT EXISTS e2e_one_time_keys_json (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    ts_added_ms BIGINT NOT NULL,
    key_json TEXT NOT NULL,
    UNIQUE (user_id, device_id, algorithm, key_id)
);

CREATE TABLE IF NOT EXISTS e2e_fallback_keys_json (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key_json TEXT NOT NULL,
    used BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE (user_id, device_id, algorithm)
);

CREATE TABLE IF NOT EXISTS e2e_cross_signing_keys (
    user_id TEXT NOT NULL,
    keytype TEXT NOT NULL,
    keydata TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    updatable_without_uia_before_ms bigint DEFAULT NULL,
    instance_name TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS e2e_cross_signing_keys_idx
    ON e2e_cross_signing_keys (user_id, keytype, stream_id);
CREATE UNIQUE INDEX IF NOT EXISTS e2e_cross_signing_keys_stream_idx
    ON e2e_cross_signing_keys (stream_id);

CREATE TABLE IF NOT EXISTS e2e_cross_signing_signatures (
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    target_user_id TEXT NOT NULL,
    target_device_id TEXT NOT NULL,
    signature TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS e2e_cross_signing_signatures_idx3
    ON e2e_cross_signing_signatures (user_id, target_user_id, target_device_id, key_id);

CREATE TABLE IF NOT EXISTS e2e_room_keys (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    first_message_index INT,
    forwarded_count INT,
    is_verified BOOLEAN,
    session_data TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS e2e_room_keys_with_version_idx
    ON e2e_room_keys (user_id, version, room_id, session_id);

CREATE TABLE IF NOT EXISTS e2e_room_keys_versions (
    user_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data TEXT NOT NULL,
    deleted SMALLINT NOT NULL DEFAULT 0,
    etag BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS e2e_room_keys_versions_idx
    ON e2e_room_keys_versions (user_id, version);

CREATE TABLE IF NOT EXISTS user_signature_stream (
    stream_id BIGINT NOT NULL,
    from_user_id TEXT NOT NULL,
    user_ids TEXT NOT NULL,
    instance_name TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS user_signature_stream_idx
    ON user_signature_stream (stream_id);

CREATE TABLE IF NOT EXISTS device_federation_inbox (
    origin TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received_ts BIGINT NOT NULL,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS device_federation_inbox_sender_id
    ON device_federation_inbox (origin, message_id);

CREATE TABLE IF NOT EXISTS device_federation_outbox (
    destination TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    queued_ts BIGINT NOT NULL,
    messages_json TEXT NOT NULL,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS device_federation_outbox_destination_id
    ON device_federation_outbox (destination, stream_id);

CREATE TABLE IF NOT EXISTS device_inbox (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    message_json TEXT NOT NULL,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS device_inbox_user_stream_id
    ON device_inbox (user_id, device_id, stream_id);

CREATE TABLE IF NOT EXISTS device_lists_changes_converted_stream_position (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    instance_name TEXT,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS device_lists_changes_in_room (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    converted_to_destinations BOOLEAN NOT NULL,
    opentracing_context TEXT,
    instance_name TEXT,
    inserted_ts BIGINT
);
CREATE UNIQUE INDEX IF NOT EXISTS device_lists_changes_in_stream_id
    ON device_lists_changes_in_room (stream_id, room_id);

CREATE TABLE IF NOT EXISTS device_lists_changes_in_room_max_pruned_stream_id (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS device_lists_outbound_last_success (
    destination TEXT NOT NULL,
    user_id TEXT NOT NULL,
    stream_id BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS device_lists_outbound_last_success_unique_idx
    ON device_lists_outbound_last_success (destination, user_id);

CREATE TABLE IF NOT EXISTS device_lists_outbound_pokes (
    destination TEXT NOT NULL,
    stream_id BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    sent BOOLEAN NOT NULL,
    ts BIGINT NOT NULL,
    opentracing_context TEXT,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS device_lists_outbound_pokes_id
    ON device_lists_outbound_pokes (destination, stream_id);

CREATE TABLE IF NOT EXISTS device_lists_remote_cache (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS device_lists_remote_cache_unique_id
    ON device_lists_remote_cache (user_id, device_id);

CREATE TABLE IF NOT EXISTS device_lists_remote_extremeties (
    user_id TEXT NOT NULL,
    stream_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS device_lists_remote_extremeties_unique_idx
    ON device_lists_remote_extremeties (user_id);

CREATE TABLE IF NOT EXISTS device_lists_remote_pending (
    stream_id BIGINT PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    instance_name TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS device_lists_remote_pending_user_device_id
    ON device_lists_remote_pending (user_id, device_id);

CREATE TABLE IF NOT EXISTS device_lists_remote_resync (
    user_id TEXT NOT NULL,
    added_ts BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS device_lists_remote_resync_idx
    ON device_lists_remote_resync (user_id);

CREATE TABLE IF NOT EXISTS device_lists_stream (
    stream_id BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    instance_name TEXT
);
CREATE INDEX IF NOT EXISTS device_lists_stream_id
    ON device_lists_stream (stream_id, user_id);
CREATE INDEX IF NOT EXISTS device_lists_stream_user_id
    ON device_lists_stream (user_id, device_id);

-- Federation

CREATE TABLE IF NOT EXISTS destinations (
    destination TEXT PRIMARY KEY,
    retry_last_ts BIGINT,
    retry_interval INTEGER,
    failure_ts BIGINT,
    last_successful_stream_ordering BIGINT
);

CREATE TABLE IF NOT EXISTS destination_rooms (
    destination TEXT NOT NULL REFERENCES destinations (destination),
    room_id TEXT NOT NULL,
    stream_ordering BIGINT NOT NULL,
    PRIMARY KEY (destination, room_id)
);

CREATE TABLE IF NOT EXISTS destination_rooms_sticky_events_backlog (
    destination TEXT NOT NULL,
    room_id TEXT NOT NULL,
    sticky_events_stream_position INTEGER NOT NULL,
    PRIMARY KEY (destination, room_id)
);

CREATE TABLE IF NOT EXISTS federation_stream_position (
    type TEXT NOT NULL,
    stream_id INTEGER NOT NULL,
    instance_name TEXT NOT NULL DEFAULT 'master'
);
CREATE UNIQUE INDEX IF NOT EXISTS federation_stream_position_instance
    ON federation_stream_position (type, instance_name);

CREATE TABLE IF NOT EXISTS received_transactions (
    transaction_id TEXT,
    origin TEXT,
    ts BIGINT,
    response_code INTEGER,
    response_json bytea,
    has_been_referenced smallint DEFAULT 0,
    UNIQUE (transaction_id, origin)
);

CREATE TABLE IF NOT EXISTS server_keys_json (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    from_server TEXT NOT NULL,
    ts_added_ms BIGINT NOT NULL,
    ts_valid_until_ms BIGINT NOT NULL,
    key_json bytea NOT NULL,
    UNIQUE (server_name, key_id, from_server)
);

CREATE TABLE IF NOT EXISTS server_signature_keys (
    server_name TEXT,
    key_id TEXT,
    from_server TEXT,
    ts_added_ms BIGINT,
    verify_key bytea,
    ts_valid_until_ms BIGINT,
    UNIQUE (server_name, key_id)
);

-- Application services

CREATE TABLE IF NOT EXISTS application_services_state (
    as_id TEXT NOT NULL PRIMARY KEY,
    state VARCHAR(5),
    read_receipt_stream_id BIGINT,
    presence_stream_id BIGINT,
    to_device_stream_id BIGINT,
    device_list_stream_id BIGINT
);

CREATE TABLE IF NOT EXISTS application_services_txns (
    as_id TEXT NOT NULL,
    txn_id INTEGER NOT NULL,
    event_ids TEXT NOT NULL,
    UNIQUE (as_id, txn_id)
);

CREATE TABLE IF NOT EXISTS appservice_room_list (
    appservice_id TEXT NOT NULL,
    network_id TEXT NOT NULL,
    room_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS appservice_room_list_idx
    ON appservice_room_list (appservice_id, network_id, room_id);

CREATE TABLE IF NOT EXISTS appservice_stream_position (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_ordering BIGINT,
    CHECK (Lock = 'X')
);

-- Media

CREATE TABLE IF NOT EXISTS local_media_repository (
    media_id TEXT UNIQUE,
    media_type TEXT,
    media_length INTEGER,
    created_ts BIGINT,
    upload_name TEXT,
    user_id TEXT,
    quarantined_by TEXT,
    url_cache TEXT,
    last_access_ts BIGINT,
    safe_from_quarantine BOOLEAN NOT NULL DEFAULT 0,
    authenticated BOOLEAN NOT NULL DEFAULT FALSE,
    sha256 TEXT
);
CREATE INDEX IF NOT EXISTS users_have_local_media
    ON local_media_repository (user_id, created_ts);

CREATE TABLE IF NOT EXISTS local_media_repository_thumbnails (
    media_id TEXT,
    thumbnail_width INTEGER,
    thumbnail_height INTEGER,
    thumbnail_type TEXT,
    thumbnail_method TEXT,
    thumbnail_length INTEGER,
    UNIQUE (media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method)
);

CREATE TABLE IF NOT EXISTS local_media_repository_url_cache (
    url TEXT,
    response_code INTEGER,
    etag TEXT,
    expires_ts BIGINT,
    og TEXT,
    media_id TEXT,
    download_ts BIGINT
);
CREATE INDEX IF NOT EXISTS local_media_repository_url_cache_by_url_download_ts
    ON local_media_repository_url_cache (url, download_ts);

CREATE TABLE IF NOT EXISTS remote_media_cache (
    media_origin TEXT,
    media_id TEXT,
    media_type TEXT,
    created_ts BIGINT,
    upload_name TEXT,
    media_length INTEGER,
    filesystem_id TEXT,
    last_access_ts BIGINT,
    quarantined_by TEXT,
    authenticated BOOLEAN NOT NULL DEFAULT FALSE,
    sha256 TEXT,
    UNIQUE (media_origin, media_id)
);

CREATE TABLE IF NOT EXISTS remote_media_cache_thumbnails (
    media_origin TEXT,
    media_id TEXT,
    thumbnail_width INTEGER,
    thumbnail_height INTEGER,
    thumbnail_method TEXT,
    thumbnail_type TEXT,
    thumbnail_length INTEGER,
    filesystem_id TEXT,
    UNIQUE (
        media_origin, media_id, thumbnail_width, thumbnail_height, thumbnail_type, thumbnail_method
    )
);

CREATE TABLE IF NOT EXISTS quarantined_media_changes (
    stream_id INTEGER NOT NULL PRIMARY KEY,
    instance_name TEXT NOT NULL,
    origin TEXT,
    media_id TEXT NOT NULL,
    quarantined BOOLEAN NOT NULL
);

-- User directory and statistics

CREATE TABLE IF NOT EXISTS user_directory (
    user_id TEXT NOT NULL,
    room_id TEXT,
    display_name TEXT,
    avatar_url TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS user_directory_user_idx
    ON user_directory (user_id);

CREATE TABLE IF NOT EXISTS user_directory_stale_remote_users (
    user_id TEXT NOT NULL PRIMARY KEY,
    user_server_name TEXT NOT NULL,
    next_try_at_ts BIGINT NOT NULL,
    retry_counter INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS user_directory_stream_pos (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS users_in_public_rooms (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS users_in_public_rooms_u_idx
    ON users_in_public_rooms (user_id, room_id);

CREATE TABLE IF NOT EXISTS users_who_share_private_rooms (
    user_id TEXT NOT NULL,
    other_user_id TEXT NOT NULL,
    room_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS users_who_share_private_rooms_u_idx
    ON users_who_share_private_rooms (user_id, other_user_id, room_id);

CREATE TABLE IF NOT EXISTS room_stats_current (
    room_id TEXT NOT NULL PRIMARY KEY,
    current_state_events INT NOT NULL,
    joined_members INT NOT NULL,
    invited_members INT NOT NULL,
    left_members INT NOT NULL,
    banned_members INT NOT NULL,
    local_users_in_room INT NOT NULL,
    completed_delta_stream_id BIGINT NOT NULL,
    knocked_members INT
);

CREATE TABLE IF NOT EXISTS room_stats_earliest_token (
    room_id TEXT NOT NULL,
    token BIGINT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS room_stats_earliest_token_idx
    ON room_stats_earliest_token (room_id);

CREATE TABLE IF NOT EXISTS room_stats_state (
    room_id TEXT NOT NULL,
    name TEXT,
    canonical_alias TEXT,
    join_rules TEXT,
    history_visibility TEXT,
    encryption TEXT,
    avatar TEXT,
    guest_access TEXT,
    is_federatable BOOLEAN,
    topic TEXT,
    room_type TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS room_stats_state_room
    ON room_stats_state (room_id);

CREATE TABLE IF NOT EXISTS stats_incremental_position (
    Lock CHAR(1) NOT NULL DEFAULT 'X' UNIQUE,
    stream_id BIGINT NOT NULL,
    CHECK (Lock = 'X')
);

CREATE TABLE IF NOT EXISTS user_stats_current (
    user_id TEXT NOT NULL PRIMARY KEY,
    joined_rooms BIGINT NOT NULL,
    completed_delta_stream_id BIGINT NOT NULL
);

-- Our own tables

CREATE TABLE IF NOT EXISTS myelin_room_epochs (
    room_id TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_typing (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    expires_ts INTEGER NOT NULL,
    stream_id INTEGER NOT NULL,
    PRIMARY KEY (room_id, user_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_device_key_counts (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    one_time_keys TEXT NOT NULL,
    unused_fallback_keys TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_room_key_counts (
    user_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    key_count INTEGER NOT NULL,
    PRIMARY KEY (user_id, version)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_to_device_txns (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    inserted_ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, txn_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_delayed_event_txns (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    delay_id TEXT NOT NULL,
    inserted_ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id, room_id, txn_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_user_directory_words (
    user_id TEXT NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (user_id, word)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS myelin_user_directory_words_word
    ON myelin_user_directory_words (word);

CREATE TABLE IF NOT EXISTS myelin_presence_devices (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    state TEXT NOT NULL,
    last_active_ts INTEGER NOT NULL,
    last_sync_ts INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_server_secrets (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS myelin_sliding_sync_connections (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    conn_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    settled_request TEXT,
    state TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id, conn_id, position)
) WITHOUT ROWID;

-- Rows that a server starts with

INSERT OR IGNORE INTO schema_version (Lock, version, upgraded)
VALUES
    ('X', 94, TRUE);
INSERT OR IGNORE INTO schema_compat_version (Lock, compat_version)
VALUES
    ('X', 84);
INSERT OR IGNORE INTO appservice_stream_position (Lock, stream_ordering)
VALUES
    ('X', 0);
INSERT OR IGNORE INTO delayed_events_stream_pos (Lock, stream_id)
VALUES
    ('X', 0);
INSERT OR IGNORE INTO device_lists_changes_in_room_max_pruned_stream_id (Lock, stream_id)
VALUES
    ('X', 0);
INSERT OR IGNORE INTO event_push_summary_last_receipt_stream_id (Lock, stream_id)
VALUES
    ('X', 0);
INSERT OR IGNORE INTO event_push_summary_stream_ordering (Lock, stream_ordering)
VALUES
    ('X', 0);
INSERT OR IGNORE INTO room_forgetter_stream_pos (Lock, stream_id)
VALUES
    ('X', 0);
INSERT OR IGNORE INTO stats_incremental_position (Lock, stream_id)
VALUES
    ('X', 1);
INSERT OR IGNORE INTO user_directory_stream_pos (Lock, stream_id)
VALUES
    ('X', 1);
INSERT OR IGNORE INTO device_lists_changes_converted_stream_position (Lock, stream_id, room_id)
VALUES
    ('X', 1, '');
INSERT OR IGNORE INTO federation_stream_position (type, stream_id, instance_name)
VALUES
    ('federation', -1, 'master'),
    ('events', -1, 'master');
INSERT OR IGNORE INTO stream_positions (stream_name, instance_name, stream_id)
VALUES
    ('account_data', 'master', 1),
    ('backfill', 'master', -1),
    ('device_lists_stream', 'master', 1),
    ('e2e_cross_signing_keys', 'master', 1),
    ('events', 'master', 1),
    ('presence_stream', 'master', 1),
    ('push_rules_stream', 'master', 1),
    ('pushers', 'master', 1),
    ('quarantined_media', 'master', 1),
    ('receipts', 'master', 1),
    ('sticky_events', 'master', 1),
    ('thread_subscriptions', 'master', 1),
    ('to_device', 'master', 1),
    ('typing', 'master', 1),
    ('un_partial_stated_event_stream', 'master', 1),
    ('un_partial_stated_room_stream', 'master', 1);
INSERT OR IGNORE INTO myelin_counters (name, value)
VALUES
    ('access_tokens_id', 0),
    ('application_services_txn_id', 0),
    ('event_auth_chain_id', 0),
    ('event_reports_id', 0),
    ('push_rules_id', 0),
    ('push_rules_enable_id', 0),
    ('refresh_tokens_id', 0),
    ('room_reports_id', 0),
    ('state_group_id', 0),
    ('user_id', 0),
    ('user_reports_id', 0);
