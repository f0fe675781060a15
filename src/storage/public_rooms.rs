//! The public list: `rooms` that are in it, with `room_stats_state` and `room_stats_current`.
//! The largest come first. A room that nobody is in, or that a stranger could neither join nor
//! read, is not listed.

use serde::Deserialize;

use super::database::Statement;

/// A room of the list.
#[derive(Clone, Debug, Deserialize)]
pub struct PublicRoomRow {
    pub room_id: String,
    pub joined_members: u32,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub canonical_alias: Option<String>,
    pub avatar: Option<String>,
    pub join_rules: Option<String>,
    pub history_visibility: Option<String>,
    pub guest_access: Option<String>,
    pub room_type: Option<String>,
}

/// A place in the list: after the room with so many members and that id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace {
    pub is_forward: bool,
    pub joined_members: i64,
    pub room_id: String,
}

/// Whose list.
#[derive(Clone, Debug, Default)]
pub enum Network {
    /// This server's own.
    #[default]
    Matrix,
    /// All together.
    All,
    /// Of an application service and one of its networks.
    Of { as_id: String, network_id: String },
}

/// What of the list is asked for.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub place: Option<ListPlace>,
    pub limit: u32,
    /// A part of the name, the topic or the canonical alias.
    pub search: Option<String>,
    /// Types of rooms, `None` for rooms without one; empty: all.
    pub room_types: Vec<Option<String>>,
    pub network: Network,
}

/// The rooms of a list; binds what says which.
fn listed(statement: Statement, network: &Network) -> (Statement, String) {
    let (statement, is_listed) = match network {
        Network::Matrix => (statement, "r.is_public = 1".to_owned()),
        Network::All => {
            let all = "SELECT room_id FROM rooms WHERE is_public = 1
                       UNION SELECT room_id FROM appservice_room_list";
            (statement, format!("r.room_id IN ({all})"))
        }
        Network::Of { as_id, network_id } => {
            let (service, network) = (statement.values.len() + 1, statement.values.len() + 2);
            let of_service = format!(
                "SELECT room_id FROM appservice_room_list
                 WHERE appservice_id = ?{service} AND network_id = ?{network}"
            );
            let statement = statement.bind(as_id.as_str()).bind(network_id.as_str());
            (statement, format!("r.room_id IN ({of_service})"))
        }
    };
    let sql = format!(
        "FROM rooms r
         CROSS JOIN room_stats_state s ON s.room_id = r.room_id
         CROSS JOIN room_stats_current c ON c.room_id = r.room_id
         WHERE {is_listed} AND c.joined_members > 0
           AND (s.join_rules IN ('public', 'knock', 'knock_restricted')
                OR s.history_visibility = 'world_readable')"
    );
    (statement, sql)
}

/// Reads [`PublicRoomRow`]s: away from the place, which for a backward one is upwards.
pub fn select(query: &ListQuery) -> Statement {
    let mut statement = Statement::new("").bind(query.limit);
    let mut conditions = String::new();
    let mut order = "DESC";
    if let Some(place) = &query.place {
        statement = statement.bind(place.joined_members).bind(place.room_id.as_str());
        let operator = if place.is_forward { "<" } else { ">" };
        order = if place.is_forward { "DESC" } else { "ASC" };
        conditions.push_str(&format!(" AND (c.joined_members, r.room_id) {operator} (?2, ?3)"));
    }
    if let Some(search) = &query.search {
        // SQLite lowers ASCII only: so does the term.
        statement = statement.bind(search.to_ascii_lowercase());
        let term = format!("?{}", statement.values.len());
        let has = |column: &str| format!("instr(lower(coalesce({column}, '')), {term})");
        let (name, topic, alias) = (has("s.name"), has("s.topic"), has("s.canonical_alias"));
        conditions.push_str(&format!(" AND ({name} OR {topic} OR {alias})"));
    }
    if !query.room_types.is_empty() {
        let types: Vec<&String> = query.room_types.iter().flatten().collect();
        statement = statement.bind_json(&types);
        let list = statement.values.len();
        let untyped = if query.room_types.contains(&None) { "s.room_type IS NULL" } else { "0" };
        conditions.push_str(&format!(
            " AND ({untyped} OR s.room_type IN (SELECT value FROM json_each(?{list})))"
        ));
    }
    let (mut statement, listed) = listed(statement, &query.network);
    statement.sql = format!(
        "SELECT r.room_id, c.joined_members, s.name, s.topic, s.canonical_alias, s.avatar,
                s.join_rules, s.history_visibility, s.guest_access, s.room_type
         {listed}{conditions}
         ORDER BY c.joined_members {order}, r.room_id {order} LIMIT ?1 + 0"
    )
    .into();
    statement
}

/// How many rooms are listed.
#[derive(Debug, Deserialize)]
pub struct CountRow {
    pub count: u32,
}

/// Reads a [`CountRow`].
pub fn count(network: &Network) -> Statement {
    let (mut statement, listed) = listed(Statement::new(""), network);
    statement.sql = format!("SELECT count(*) AS count {listed}").into();
    statement
}
