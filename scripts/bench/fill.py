"""Fills the database of a server that is not running: messages and members, copied from one of
each, much faster than they could be sent. The copies are not signed anew.

    fill.py DATABASE EVENTS_A_ROOM [LARGE_ROOM MEMBERS [ACCOUNTS]]

The first ACCOUNTS of the members can be used: the access token of @member1 is "fill1".
"""
import sqlite3
import sys

database, events_per_room, *large = sys.argv[1:]
db = sqlite3.connect(database, isolation_level=None)
db.execute("PRAGMA synchronous = OFF")
db.execute("BEGIN")


def one(sql, *values):
    return db.execute(sql, values).fetchone()[0]


def copy(table, where, **changes):
    """Inserts a copy of each row of `table` for each row of `fill`, with other values."""
    names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    values = [changes.get(name, f"t.{name}") for name in names]
    db.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
               f"FROM {table} t JOIN fill f ON {where}")


def reset_fill():
    db.execute("DROP TABLE IF EXISTS fill")
    db.execute("CREATE TEMP TABLE fill (template, i, event_id, stream, depth, room_id)")


POSITION = "(SELECT stream_id FROM stream_positions WHERE stream_name = 'events')"


def fill_messages(count):
    """After the newest message of each room; `count` for each."""
    reset_fill()
    db.execute(f"""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}),
        newest AS (SELECT x.event_id, e.depth, e.room_id, row_number() OVER () AS r
                   FROM event_forward_extremities x JOIN events e ON e.event_id = x.event_id
                   WHERE e.type = 'm.room.message')
        INSERT INTO fill SELECT event_id, i,
            printf('$fill%039d', {POSITION} + (r - 1) * {count} + i),
            {POSITION} + (r - 1) * {count} + i, depth + i, room_id FROM newest, n""")
    db.execute("CREATE INDEX temp.fill_template ON fill (template)")
    copy("events", "f.template = t.event_id", event_id="f.event_id", stream_ordering="f.stream",
         topological_ordering="f.depth", depth="f.depth")
    copy("event_json", "f.template = t.event_id", event_id="f.event_id", internal_metadata="'{}'",
         json="json_set(t.json, '$.depth', f.depth)")
    copy("event_to_state_groups", "f.template = t.event_id", event_id="f.event_id")
    db.execute("INSERT INTO event_edges (event_id, prev_event_id, is_state) SELECT event_id, "
               "coalesce(lag(event_id) OVER (PARTITION BY template ORDER BY i), template), 0 "
               "FROM fill")
    db.execute(f"UPDATE event_forward_extremities SET event_id = f.event_id FROM fill f "
               f"WHERE f.template = event_forward_extremities.event_id AND f.i = {count}")
    db.execute(f"UPDATE sliding_sync_joined_rooms SET event_stream_ordering = f.stream, "
               f"bump_stamp = f.stream FROM fill f "
               f"WHERE f.room_id = sliding_sync_joined_rooms.room_id AND f.i = {count}")
    advance()


def fill_members(room_id, count):
    """As the first member, and of the same state group as the newest event."""
    template = one("SELECT event_id FROM current_state_events WHERE room_id = ? AND "
                   "type = 'm.room.member' LIMIT 1", room_id)
    group = one("SELECT g.state_group FROM event_forward_extremities x JOIN event_to_state_groups "
                "g ON g.event_id = x.event_id WHERE x.room_id = ?", room_id)
    server = one("SELECT substr(state_key, instr(state_key, ':')) FROM current_state_events "
                 "WHERE event_id = ?", template)
    reset_fill()
    db.execute(f"""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
        INSERT INTO fill SELECT ?, i, printf('$member%037d', i), {POSITION} + i, 3, ? FROM n""",
               (template, room_id))
    user = f"'@member' || f.i || '{server}'"
    copy("events", "f.template = t.event_id", event_id="f.event_id", stream_ordering="f.stream",
         state_key=user, sender=user)
    copy("event_json", "f.template = t.event_id", event_id="f.event_id",
         json=f"json_set(t.json, '$.sender', {user}, '$.state_key', {user})")
    for table in ("state_events", "current_state_events"):
        copy(table, "f.template = t.event_id", event_id="f.event_id", state_key=user,
             event_stream_ordering="f.stream")
    for table in ("room_memberships", "local_current_membership"):
        copy(table, "f.template = t.event_id", event_id="f.event_id", user_id=user, sender=user,
             event_stream_ordering="f.stream")
    db.execute(f"INSERT INTO event_to_state_groups (event_id, state_group) "
               f"SELECT event_id, {group} FROM fill")
    db.execute(f"INSERT INTO state_groups_state (state_group, room_id, type, state_key, event_id) "
               f"SELECT {group}, room_id, 'm.room.member', {user}, event_id FROM fill f")
    db.execute("UPDATE room_stats_current SET joined_members = joined_members + ?, "
               "local_users_in_room = local_users_in_room + ?, "
               "current_state_events = current_state_events + ? WHERE room_id = ?",
               (count, count, count, room_id))
    advance()


def fill_accounts(count):
    """Of those whom `fill_members` has made, each with a device."""
    db.execute("DELETE FROM fill WHERE i > ?", (count,))
    server = one("SELECT substr(name, instr(name, ':')) FROM users LIMIT 1")
    user = f"'@member' || f.i || '{server}'"
    last = one("SELECT value FROM myelin_counters WHERE name = 'access_tokens_id'")
    template = one("SELECT min(name) FROM users")
    db.execute("UPDATE fill SET template = ?", (template,))
    copy("users", "f.template = t.name", name=user)
    device = one("SELECT min(device_id) FROM devices WHERE user_id = ? AND hidden = 0", template)
    copy("devices", f"f.template = t.user_id AND t.device_id = '{device}'", user_id=user)
    db.execute(f"INSERT INTO access_tokens (id, user_id, device_id, token, used) "
               f"SELECT {last} + f.i, {user}, '{device}', 'fill' || f.i, 1 FROM fill f")
    db.execute("UPDATE myelin_counters SET value = ? WHERE name = 'access_tokens_id'",
               (last + count,))


def advance():
    db.execute("UPDATE stream_positions SET stream_id = (SELECT max(stream) FROM fill) "
               "WHERE stream_name = 'events'")


if int(events_per_room) > 0:
    fill_messages(int(events_per_room))
if large:
    fill_members(large[0], int(large[1]))
    if large[2:]:
        fill_accounts(int(large[2]))
db.execute("COMMIT")
db.close()
