//! Finding people. Client-Server API, "User Directory".

use myelin_protocol::user_search::{Candidate, Search};
use ruma::api::client::user_directory::search_users::v3::{Request, Response, User};

use super::access::Access;
use super::endpoint::{Route, batched};
use crate::accounts::user_directory::{self, Pending, STEPS_MAX};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::user_directory::{FoundRow, Lookup, search};

/// As in Synapse.
const RESULTS_MAX: usize = 50;

pub fn routes() -> Vec<Route> {
    vec![batched(search_users)]
}

/// `POST /_matrix/client/v3/user_directory/search`
async fn search_users(access: Access, request: Request) -> Result<Response, ApiError> {
    let context = access.context.clone();
    let limit = usize::try_from(u64::from(request.limit)).unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let wanted = Search::new(&request.search_term);
    let key = wanted.as_ref().map_or("", |wanted| wanted.key(context.server_name()));
    let lookup = Lookup {
        user_or_token: access.token()?,
        key,
        all_users: context.config.user_directory_search_all_users,
    };
    let lookup = wanted.is_some().then(|| search(&lookup));
    let mut batch = user_directory::reads().to_vec();
    batch.extend(lookup.clone());
    let (caller, results) = access.authenticate_with(batch).await?;
    caller.must_not_be_guest()?;
    let (Some(wanted), Some(lookup)) = (wanted, lookup) else {
        return Ok(Response::new(Vec::new(), false));
    };
    let mut results = Results::new(results);
    for _ in 0..STEPS_MAX {
        let pending = Pending::read(&mut results)?;
        if pending.is_empty() {
            break;
        }
        // The directory is behind the log: what was found is found once more.
        let mut batch = pending.writes(context.server_name());
        let written = batch.len();
        batch.extend(user_directory::reads());
        batch.push(lookup.clone());
        results = Results::new(context.batch(batch).await?);
        results.skip(written);
    }
    Ok(ranked(&wanted, results.rows()?, limit))
}

/// The best first; who has no name or no avatar last.
fn ranked(wanted: &Search, rows: Vec<FoundRow>, limit: usize) -> Response {
    let rank = |row: FoundRow| {
        let rank = wanted.rank(Candidate {
            user_id: &row.user_id,
            display_name: row.display_name.as_deref(),
            has_avatar: row.avatar_url.is_some(),
        })?;
        Some((rank, row))
    };
    let mut found: Vec<(f64, FoundRow)> = rows.into_iter().filter_map(rank).collect();
    let last = |row: &FoundRow| (row.display_name.is_none(), row.avatar_url.is_none());
    found.sort_by(|(rank, row), (other_rank, other)| {
        let by_profile = || last(row).cmp(&last(other));
        let by_id = || row.user_id.cmp(&other.user_id);
        other_rank.total_cmp(rank).then_with(by_profile).then_with(by_id)
    });
    let limited = found.len() > limit;
    let users = found.into_iter().take(limit).map(|(_, row)| {
        let mut user = User::new(row.user_id);
        user.display_name = row.display_name;
        user.avatar_url = row.avatar_url;
        user
    });
    Response::new(users.collect(), limited)
}
