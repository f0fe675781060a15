//! Third-party networks, which application services bring. Client-Server API, "Third-party
//! Networks"; Application Service API, "Third-party networks" and "Application service room
//! directories".

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::join_all;
use http::Method;
use myelin_protocol::application_service::ApplicationService;
use ruma::OwnedRoomId;
use ruma::api::client::room::Visibility;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, query_pairs, raw};
use crate::context::Context;
use crate::error::ApiError;
use crate::outbound::application_services::ask;
use crate::storage::application_services;

pub fn routes() -> Vec<Route> {
    vec![
        raw(
            Method::GET,
            &["/_matrix/client/r0/thirdparty/protocols", "/_matrix/client/v3/thirdparty/protocols"],
            list_protocols,
        ),
        raw(
            Method::GET,
            &[
                "/_matrix/client/r0/thirdparty/protocol/{protocol}",
                "/_matrix/client/v3/thirdparty/protocol/{protocol}",
            ],
            get_protocol,
        ),
        raw(
            Method::GET,
            &[
                "/_matrix/client/r0/thirdparty/location/{protocol}",
                "/_matrix/client/v3/thirdparty/location/{protocol}",
            ],
            find_places,
        ),
        raw(
            Method::GET,
            &["/_matrix/client/r0/thirdparty/location", "/_matrix/client/v3/thirdparty/location"],
            find_places_of_alias,
        ),
        raw(
            Method::GET,
            &[
                "/_matrix/client/r0/thirdparty/user/{protocol}",
                "/_matrix/client/v3/thirdparty/user/{protocol}",
            ],
            find_users,
        ),
        raw(
            Method::GET,
            &["/_matrix/client/r0/thirdparty/user", "/_matrix/client/v3/thirdparty/user"],
            find_users_of_id,
        ),
        raw(Method::PUT, &LIST_PATHS, put_into_list),
        raw(Method::DELETE, &LIST_PATHS, take_out_of_list),
    ]
}

const LIST_PATHS: [&str; 2] = [
    "/_matrix/client/r0/directory/list/appservice/{network_id}/{room_id}",
    "/_matrix/client/v3/directory/list/appservice/{network_id}/{room_id}",
];

/// How long what a service says of a network is believed.
const PROTOCOL_LIFETIME_MS: u64 = 60 * 60 * 1000;

/// When a service has said what of a network, by both.
type Told = RefCell<HashMap<(String, String), (u64, Value)>>;

/// `GET /_matrix/client/v3/thirdparty/protocols`
async fn list_protocols(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let context = access.authenticate().await?.context;
    let mut names: Vec<String> =
        context.services_that_listen().flat_map(|service| service.protocols.clone()).collect();
    names.sort();
    names.dedup();
    let protocols = names.iter().map(|name| protocol(&context, name));
    let protocols = join_all(protocols).await;
    let known = names.into_iter().zip(protocols);
    let known = known.filter_map(|(name, protocol)| Some((name, Value::Object(protocol?))));
    answer(&known.collect::<Map<_, _>>())
}

/// `GET /_matrix/client/v3/thirdparty/protocol/{protocol}`
async fn get_protocol(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let context = access.authenticate().await?.context;
    let protocol = protocol(&context, incoming.arg(0)).await;
    answer(&protocol.ok_or_else(unknown_protocol)?)
}

fn unknown_protocol() -> ApiError {
    ApiError::not_found("No application service of this server knows this protocol")
}

fn services_of(context: &Context, protocol: &str) -> Vec<Rc<ApplicationService>> {
    let has = |service: &Rc<ApplicationService>| service.protocols.iter().any(|p| p == protocol);
    context.services_that_listen().filter(has).collect()
}

/// What the services say of a network: the first one, with the instances of all.
async fn protocol(context: &Context, name: &str) -> Option<Map<String, Value>> {
    let services = services_of(context, name);
    let said = join_all(services.iter().map(|service| said_of(context, service, name))).await;
    let mut said = said.into_iter().flatten();
    let mut first = said.next()?;
    let others: Vec<Value> = said.flat_map(|mut other| instances(&mut other)).collect();
    let mut all = instances(&mut first);
    all.extend(others);
    first.insert("instances".to_owned(), Value::Array(all));
    Some(first)
}

fn instances(protocol: &mut Map<String, Value>) -> Vec<Value> {
    match protocol.remove("instances") {
        Some(Value::Array(instances)) => instances,
        _ => Vec::new(),
    }
}

/// What one service says of a network, now or a short while ago. Its instances get the ids by
/// which the lists of their rooms are found.
async fn said_of(
    context: &Context,
    service: &ApplicationService,
    name: &str,
) -> Option<Map<String, Value>> {
    let key = (service.id.clone(), name.to_owned());
    let (told, now_ms) = (told(context), context.now_ms());
    let known = told.borrow().get(&key).cloned();
    if let Some((at_ms, Value::Object(said))) = known
        && now_ms.saturating_sub(at_ms) < PROTOCOL_LIFETIME_MS
    {
        return Some(said);
    }
    let said = ask(context, service, &["thirdparty", "protocol", name], &[]).await?;
    let Value::Object(mut said) = said else { return None };
    for instance in said.get_mut("instances").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(network_id) = instance["network_id"].as_str() {
            instance["instance_id"] = json!(format!("{}|{network_id}", service.id));
        }
    }
    told.borrow_mut().insert(key, (now_ms, Value::Object(said.clone())));
    Some(said)
}

fn told(context: &Context) -> Rc<Told> {
    let mut memo = context.isolate.memo.borrow_mut();
    let entry = memo.entry("third_party").or_insert_with(|| Rc::new(Told::default()));
    entry.clone().downcast::<Told>().unwrap_or_default()
}

/// `GET /_matrix/client/v3/thirdparty/location/{protocol}`
async fn find_places(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    find(access, &incoming, "location").await
}

/// `GET /_matrix/client/v3/thirdparty/location`
async fn find_places_of_alias(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    find(access, &incoming, "location").await
}

/// `GET /_matrix/client/v3/thirdparty/user/{protocol}`
async fn find_users(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    find(access, &incoming, "user").await
}

/// `GET /_matrix/client/v3/thirdparty/user`
async fn find_users_of_id(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    find(access, &incoming, "user").await
}

/// What the services find, one after the other: those of a network if the path names one.
async fn find(access: Access, incoming: &Incoming, kind: &str) -> Result<Answer, ApiError> {
    let context = access.authenticate().await?.context;
    let mut path = vec!["thirdparty", kind];
    let services = match incoming.arg(0) {
        "" => context.services_that_listen().collect(),
        protocol => {
            path.push(protocol);
            let services = services_of(&context, protocol);
            if services.is_empty() {
                return Err(unknown_protocol());
            }
            services
        }
    };
    let fields = query_pairs(incoming.http.uri()).filter(|(name, _)| name != "access_token");
    let fields: Vec<(String, String)> = fields.collect();
    let asked = services.iter().map(|service| ask(&context, service, &path, &fields));
    let found = join_all(asked).await.into_iter().flatten();
    let lists = found.filter_map(|found| match found {
        Value::Array(list) => Some(list),
        _ => None,
    });
    answer(&lists.flatten().filter(Value::is_object).collect::<Vec<_>>())
}

/// `PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}`
async fn put_into_list(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        visibility: Visibility,
    }
    let caller = access.authenticate().await?;
    let is_listed = match incoming.json::<Body>()?.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(ApiError::invalid_param("visibility must be public or private")),
    };
    set_listed(&caller, &incoming, is_listed).await
}

/// `DELETE /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}`
async fn take_out_of_list(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    set_listed(&caller, &incoming, false).await
}

async fn set_listed(
    caller: &Caller,
    incoming: &Incoming,
    is_listed: bool,
) -> Result<Answer, ApiError> {
    let service = caller.service.as_ref().ok_or_else(|| {
        ApiError::forbidden("Only application services have lists of their networks")
    })?;
    let room_id: OwnedRoomId = incoming.id(1)?;
    let (as_id, network_id) = (service.id.as_str(), incoming.arg(0));
    let set = application_services::set_listed(as_id, network_id, &room_id, is_listed);
    caller.context.batch(vec![set]).await?;
    answer(&json!({}))
}
