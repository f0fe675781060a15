//! What a server says about itself: versions, capabilities, and where it is found.

use http::Method;
use myelin_protocol::room_version;
use ruma::RoomVersionId;
use ruma::api::client::discovery::get_supported_versions as versions;
use serde_json::{Map, Value, json};

use super::{Access, Answer, Incoming, Route, json, public, raw};
use crate::accounts::single_sign_on;
use crate::context::Context;
use crate::error::ApiError;

/// The specification's versions that clients may rely on: those whose endpoints are here, in the
/// forms that they had then.
const VERSIONS: &[&str] = &[
    "r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1", "v1.1", "v1.2",
    "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
    "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

/// What works before it is in a version above. Nothing is announced that has no test.
const UNSTABLE_FEATURES: &[&str] = &[
    "org.matrix.msc4306",
    "org.matrix.msc4380.stable",
    "org.matrix.simplified_msc3575",
    "uk.tcpip.msc4133",
    "uk.tcpip.msc4133.stable",
    "uk.timedout.msc4323",
];

pub fn routes() -> Vec<Route> {
    vec![
        public(list_versions),
        raw(
            Method::GET,
            &["/_matrix/client/v3/capabilities", "/_matrix/client/r0/capabilities"],
            list_capabilities,
        ),
        raw(Method::GET, &["/.well-known/matrix/client"], point_clients),
        raw(Method::GET, &["/.well-known/matrix/server"], point_servers),
        raw(Method::GET, &["/.well-known/matrix/support"], name_support),
    ]
}

/// `GET /_matrix/client/versions`
async fn list_versions(
    context: Context,
    _request: versions::Request,
) -> Result<versions::Response, ApiError> {
    let mut response =
        versions::Response::new(VERSIONS.iter().map(|version| (*version).to_owned()).collect());
    response.unstable_features =
        UNSTABLE_FEATURES.iter().map(|feature| ((*feature).to_owned(), true)).collect();
    if context.config.has_delayed_events() {
        response.unstable_features.insert("org.matrix.msc4140".to_owned(), true);
    }
    Ok(response)
}

/// `GET /_matrix/client/v3/capabilities`
async fn list_capabilities(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let caller = access.authenticate().await?;
    let available: Map<String, Value> =
        room_version::SUPPORTED.iter().map(|v| (v.to_string(), json!("stable"))).collect();
    let default: &RoomVersionId = &caller.context.config.default_room_version;
    let gives_login_tokens = single_sign_on::gives_login_tokens(&caller.context.config);
    let is_enabled = |enabled: bool| json!({ "enabled": enabled });
    let mut capabilities = json!({
        "m.room_versions": { "default": default, "available": available },
        "m.change_password": is_enabled(true),
        "m.set_displayname": is_enabled(true),
        "m.set_avatar_url": is_enabled(true),
        "m.profile_fields": is_enabled(true),
        "uk.tcpip.msc4133.profile_fields": is_enabled(true),
        "m.3pid_changes": is_enabled(false),
        "m.get_login_token": is_enabled(gives_login_tokens),
        "org.matrix.msc4140.delayed_events": {
            "max_delay_ms": caller.context.config.event_delay_max_ms,
            "max_scheduled": caller.context.config.delayed_events_max,
        },
    });
    if caller.is_admin {
        for name in ["m.account_moderation", "uk.timedout.msc4323"] {
            capabilities[name] = json!({ "suspend": true, "lock": true });
        }
    }
    json(&json!({ "capabilities": capabilities }))
}

/// `GET /.well-known/matrix/client`
async fn point_clients(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let base_url = incoming.base_url(&access.context)?;
    let base_url = base_url.as_str().trim_end_matches('/');
    let mut found = json!({ "m.homeserver": { "base_url": base_url } });
    let transports = &access.context.config.rtc_transports;
    if !transports.is_empty() {
        found["org.matrix.msc4143.rtc_foci"] = json!(transports);
    }
    json(&found)
}

/// `GET /.well-known/matrix/server`. The platform takes requests on port 443 and not on 8448,
/// which other servers would try without a port.
async fn point_servers(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let base_url = incoming.base_url(&access.context)?;
    let host = base_url.host_str().unwrap_or(access.context.server_name().host());
    json(&json!({ "m.server": format!("{host}:443") }))
}

/// `GET /.well-known/matrix/support`
async fn name_support(access: Access, _incoming: Incoming) -> Result<Answer, ApiError> {
    let variable = |name| access.context.config.variable(name);
    let mut contact = Map::new();
    for (field, name) in [("matrix_id", "SUPPORT_MXID"), ("email_address", "SUPPORT_EMAIL")] {
        if let Some(value) = variable(name) {
            contact.insert(field.to_owned(), json!(value));
        }
    }
    let mut answer = Map::new();
    if !contact.is_empty() {
        contact.insert("role".to_owned(), json!("m.role.admin"));
        answer.insert("contacts".to_owned(), json!([contact]));
    }
    if let Some(page) = variable("SUPPORT_PAGE") {
        answer.insert("support_page".to_owned(), json!(page));
    }
    if answer.is_empty() {
        return Err(ApiError::not_found("This server names nobody to turn to"));
    }
    json(&answer)
}
