//! Logging in, and proving who one is, at a CAS server.

use crate::support::{Account, PASSWORD, Reply, Server, account};
use serde_json::{Value, json};
use url::Url;

const LOGIN: &str = "/_matrix/client/v3/login";
const REDIRECT: &str = "/_matrix/client/v3/login/sso/redirect";
const VALIDATE: &str = "https://cas.test/cas/proxyValidate";

/// Where the client wants its user back.
const CLIENT: &str = "https://client?p=http%3A%2F%2Fserver";

fn server(variables: &[(&str, &str)]) -> Server {
    let cas = [("CAS_SERVER_URL", "https://cas.test/cas"), ("PUBLIC_BASEURL", "https://hs.test/")];
    Server::with(&[&cas[..], variables].concat())
}

/// From now on every ticket is this user's.
fn confirm(server: &Server, user: &str) {
    let namespace = "xmlns:cas='http://www.yale.edu/tp/cas'";
    let success = format!(
        "<cas:authenticationSuccess><cas:user>{user}</cas:user></cas:authenticationSuccess>"
    );
    let reply = format!("<cas:serviceResponse {namespace}>\n{success}\n</cas:serviceResponse>");
    server.platform.internet.answer(VALIDATE, 200, &reply);
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn text(reply: Reply) -> String {
    String::from_utf8(reply.bytes).unwrap()
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

/// Where the CAS server is to send the user of this client back.
fn service(server: &Server, client: &str) -> Url {
    let path = format!("{REDIRECT}?{}", encoded(&[("redirectUrl", client)]));
    let reply = server.get("", &path);
    assert_eq!(reply.status, 302);
    let location = Url::parse(reply.headers["location"].to_str().unwrap()).unwrap();
    assert_eq!(location.as_str().split('?').next(), Some("https://cas.test/cas/login"));
    Url::parse(&parameter(&location, "service")).unwrap()
}

/// What the server says when the CAS server has sent the user back with a ticket.
fn come_back(server: &Server, service: &Url) -> Reply {
    let path = format!("{}?{}&ticket=golden", service.path(), service.query().unwrap());
    server.get("", &path)
}

/// Signs in, up to the login token in the page that asks whether to trust the client.
fn sign_in(server: &Server, user: &str) -> String {
    confirm(server, user);
    let reply = come_back(server, &service(server, CLIENT));
    assert_eq!(reply.status, 200);
    let html = text(reply);
    let (_, rest) = html.split_once("&amp;loginToken=").expect("there is a token");
    rest.split('"').next().unwrap().to_owned()
}

fn log_in(server: &Server, token: &str) -> Reply {
    server.post("", LOGIN, json!({ "type": "m.login.token", "token": token }))
}

fn sign_in_and_log_in(server: &Server, user: &str) -> Account {
    account(&log_in(server, &sign_in(server, user)).ok())
}

fn flow_types(server: &Server) -> Vec<Value> {
    let flows = server.get("", LOGIN).ok();
    flows["flows"].as_array().unwrap().iter().map(|flow| flow["type"].clone()).collect()
}

#[test]
fn single_sign_on_is_offered_where_it_is_configured() {
    let with = server(&[]);
    assert_eq!(
        flow_types(&with),
        ["m.login.cas", "m.login.sso", "m.login.token", "m.login.password"]
    );
    let without = Server::new();
    assert_eq!(flow_types(&without), ["m.login.password"]);
    let path = format!("{REDIRECT}?{}", encoded(&[("redirectUrl", CLIENT)]));
    without.get("", &path).error(404, "M_UNRECOGNIZED");
    let ticket = "/_matrix/client/r0/login/cas/ticket?ticket=a&redirectUrl=b";
    without.get("", ticket).error(404, "M_UNRECOGNIZED");
    log_in(&without, "token").error(400, "M_UNKNOWN");
}

#[test]
fn a_client_logs_in_with_what_the_page_hands_to_it() {
    let server = server(&[]);
    let service = service(&server, CLIENT);
    let at = "https://hs.test/_matrix/client/r0/login/cas/ticket?redirectUrl=";
    assert_eq!(
        service.as_str(),
        format!("{at}https%3A%2F%2Fclient%3Fp%3Dhttp%253A%252F%252Fserver")
    );
    let token = sign_in(&server, "Cas_user!");
    let [request] = &server.platform.internet.take_requests()[..] else { panic!("one request") };
    let asked = Url::parse(&request.uri().to_string()).unwrap();
    assert_eq!(parameter(&asked, "ticket"), "golden");
    assert_eq!(parameter(&asked, "service"), service.as_str());
    let body = log_in(&server, &token).ok();
    assert_eq!(body["user_id"], "@cas_user=21:example.org");
    let user = account(&body);
    server.get(&user, "/_matrix/client/v3/account/whoami").ok();
    // It is good once, and the account is the same the next time.
    log_in(&server, &token).error(403, "M_FORBIDDEN");
    assert_eq!(sign_in_and_log_in(&server, "Cas_user!").user_id, user.user_id);
    let rows = server.rows("SELECT auth_provider, external_id, user_id FROM user_external_ids");
    let row =
        json!({ "auth_provider": "cas", "external_id": "Cas_user!", "user_id": user.user_id });
    assert_eq!(rows, [row]);
}

#[test]
fn a_login_token_is_good_for_two_minutes() {
    let server = server(&[]);
    let token = sign_in(&server, "alice");
    server.platform.advance(120_001);
    log_in(&server, &token).error(403, "M_FORBIDDEN");
    let context = server.platform.context();
    server.run(async move { myelin::sweep::remove_expired(&context).await }).unwrap();
    assert_eq!(server.rows("SELECT token FROM login_tokens"), [Value::Null; 0]);
    log_in(&server, "unknown").error(403, "M_FORBIDDEN");
    server.post("", LOGIN, json!({ "type": "m.login.token" })).error(400, "M_MISSING_PARAM");
}

#[test]
fn two_logins_at_once_share_no_token() {
    let server = server(&[]);
    let token = sign_in(&server, "alice");
    let body = json!({ "type": "m.login.token", "token": token });
    let [first, second] = [(); 2].map(|()| server.request("POST", "", LOGIN, &body));
    let (first, second) = server.run(futures_util::future::join(first, second));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

#[test]
fn an_account_of_before_belongs_to_whoever_has_its_name() {
    let server = server(&[("ALLOW_GUESTS", "true")]);
    let alice = server.register("alice");
    assert_eq!(sign_in_and_log_in(&server, "Alice").user_id, alice.user_id);
    // Numbers are guests', who sign in nowhere.
    server.post("", "/_matrix/client/v3/register?kind=guest", json!({})).ok();
    confirm(&server, "1");
    let refused = come_back(&server, &service(&server, CLIENT));
    assert_eq!(refused.status, 400);
    assert!(text(refused).contains("Numeric user IDs are reserved"));
}

#[test]
fn no_account_is_made_where_that_is_switched_off() {
    let server = server(&[("CAS_REGISTRATION", "false")]);
    confirm(&server, "bob");
    assert_eq!(come_back(&server, &service(&server, CLIENT)).status, 403);
    server.register("bob");
    sign_in_and_log_in(&server, "bob");
}

#[test]
fn a_deactivated_user_gets_no_token() {
    let server = server(&[]);
    let alice = server.register("alice");
    sign_in_and_log_in(&server, "alice");
    let identifier = json!({ "type": "m.id.user", "user": "alice" });
    let auth =
        json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD });
    let path = "/_matrix/client/v3/account/deactivate";
    server.post(&alice, path, json!({ "auth": auth })).ok();
    confirm(&server, "alice");
    assert_eq!(come_back(&server, &service(&server, CLIENT)).status, 403);
}

#[test]
fn a_client_that_the_operator_trusts_is_handed_the_token_at_once() {
    let server = server(&[("SSO_CLIENT_WHITELIST", "https://other.test/ https://client/")]);
    confirm(&server, "alice");
    let reply = come_back(&server, &service(&server, CLIENT));
    assert_eq!(reply.status, 302);
    let location = Url::parse(reply.headers["location"].to_str().unwrap()).unwrap();
    assert_eq!(parameter(&location, "p"), "http://server");
    log_in(&server, &parameter(&location, "loginToken")).ok();
    let other = come_back(&server, &service(&server, "https://client.evil.test/<b>"));
    assert_eq!(other.status, 200);
    assert!(text(other).contains("<strong>client.evil.test</strong>"));
    let app = come_back(&server, &service(&server, "io.element.app:/callback"));
    assert!(text(app).contains("<a href=\"io.element.app:/callback?loginToken="));
}

#[test]
fn a_device_logs_in_another_one() {
    let path = "/_matrix/client/v1/login/get_token";
    let without = Server::new();
    let alice = without.register("alice");
    without.post(&alice, path, json!({})).error(404, "M_UNRECOGNIZED");
    let server = Server::with(&[("LOGIN_VIA_EXISTING_SESSION", "true"), ("RATE_LIMITS", "on")]);
    assert_eq!(flow_types(&server), ["m.login.token", "m.login.password"]);
    let alice = server.register("alice");
    let capabilities = server.get(&alice, "/_matrix/client/v3/capabilities").ok();
    assert_eq!(capabilities["capabilities"]["m.get_login_token"]["enabled"], true);
    server.post(&alice, path, json!({})).error(401, "");
    let identifier = json!({ "type": "m.id.user", "user": "alice" });
    let auth =
        json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD });
    let given = server.post(&alice, path, json!({ "auth": auth })).ok();
    assert_eq!(given["expires_in_ms"], 120_000);
    let phone = account(&log_in(&server, given["login_token"].as_str().unwrap()).ok());
    assert_eq!(phone.user_id, alice.user_id);
    assert_ne!(phone.device_id, alice.device_id);
    server.post(&alice, path, json!({ "auth": auth })).error(429, "M_LIMIT_EXCEEDED");
}

#[test]
fn what_is_malformed_is_refused_with_its_reason() {
    let server = server(&[]);
    server.get("", REDIRECT).error(400, "M_MISSING_PARAM");
    for client in ["", "client", "/path", "javascript:alert(1)", "data:text/html,a"] {
        let query = encoded(&[("redirectUrl", client)]);
        server.get("", &format!("{REDIRECT}?{query}")).error(400, "M_INVALID_PARAM");
        confirm(&server, "alice");
        let path = format!("/_matrix/client/r0/login/cas/ticket?ticket=a&{query}");
        server.get("", &path).error(400, "M_INVALID_PARAM");
    }
    let query = encoded(&[("redirectUrl", CLIENT)]);
    server.get("", &format!("{REDIRECT}/saml?{query}")).error(404, "M_NOT_FOUND");
    assert_eq!(server.get("", &format!("{REDIRECT}/cas?{query}")).status, 302);
    let ticket = "/_matrix/client/v3/login/cas/ticket";
    server.get("", &format!("{ticket}?{query}")).error(400, "M_MISSING_PARAM");
    server.get("", &format!("{ticket}?ticket=a")).error(400, "M_MISSING_PARAM");
}

#[test]
fn a_ticket_that_is_not_confirmed_shows_nobody() {
    let server = server(&[]);
    server.register("alice");
    let service = service(&server, CLIENT);
    assert_eq!(come_back(&server, &service).status, 401);
    for (status, reply) in [(200, "no"), (500, ""), (302, "")] {
        server.platform.internet.answer(VALIDATE, status, reply);
        assert_eq!(come_back(&server, &service).status, 401);
    }
    assert_eq!(server.rows("SELECT name FROM users").len(), 1);
    assert_eq!(server.rows("SELECT token FROM login_tokens"), [Value::Null; 0]);
}

/// Deletes the caller's own device, and says what the answer was.
fn delete_device(server: &Server, user: &Account, auth: &Value) -> Reply {
    let path = format!("/_matrix/client/v3/devices/{}", user.device_id);
    let body = if auth.is_null() { json!({}) } else { json!({ "auth": auth }) };
    server.delete(user, &path, body)
}

/// Follows the page of the stage to the CAS server, and comes back.
fn prove(server: &Server, session: &str) -> Reply {
    let path = "/_matrix/client/v3/auth/m.login.sso/fallback/web";
    let html = text(server.get("", &format!("{path}?session={session}")));
    assert!(html.contains("remove a device from your account"), "{html}");
    let (_, rest) = html.split_once("href=\"https://cas.test").expect("there is a link");
    let link = format!("https://cas.test{}", rest.split('"').next().unwrap());
    let link = Url::parse(&link.replace("&amp;", "&")).unwrap();
    come_back(server, &Url::parse(&parameter(&link, "service")).unwrap())
}

#[test]
fn a_user_proves_who_they_are_by_signing_in_again() {
    let server = server(&[]);
    let user = sign_in_and_log_in(&server, "alice");
    let challenge = delete_device(&server, &user, &Value::Null).error(401, "");
    // There is no password that could be asked for.
    assert_eq!(challenge["flows"], json!([{ "stages": ["m.login.sso"] }]));
    let session = challenge["session"].as_str().unwrap();
    let auth = json!({ "session": session });
    // Saying so is no proof.
    let claim = json!({ "session": session, "type": "m.login.sso" });
    delete_device(&server, &user, &claim).error(401, "M_FORBIDDEN");
    delete_device(&server, &user, &auth).error(401, "");
    assert!(text(prove(&server, session)).contains("onAuthDone"));
    delete_device(&server, &user, &claim).ok();
    server.get(&user, "/_matrix/client/v3/account/whoami").error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn somebody_else_proves_nothing_by_signing_in() {
    let server = server(&[]);
    let alice = server.register("alice");
    sign_in_and_log_in(&server, "eve");
    sign_in_and_log_in(&server, "alice");
    let challenge = delete_device(&server, &alice, &Value::Null).error(401, "");
    let both = json!([{ "stages": ["m.login.password"] }, { "stages": ["m.login.sso"] }]);
    assert_eq!(challenge["flows"], both);
    let session = challenge["session"].as_str().unwrap();
    let auth = json!({ "session": session });
    for other in ["eve", "nobody"] {
        confirm(&server, other);
        let page = text(prove(&server, session));
        assert!(page.contains("somebody else") && !page.contains("onAuthDone"), "{page}");
        delete_device(&server, &alice, &auth).error(403, "M_FORBIDDEN");
    }
    confirm(&server, "alice");
    prove(&server, session);
    delete_device(&server, &alice, &auth).ok();
}

#[test]
fn a_registration_is_not_proved_by_signing_in() {
    let server = server(&[]);
    let body = json!({ "username": "bob", "password": PASSWORD });
    let challenge = server.post("", "/_matrix/client/v3/register", body);
    let session = challenge.body["session"].as_str().unwrap().to_owned();
    let page = "/_matrix/client/v3/auth/m.login.sso/fallback/web";
    server.get("", &format!("{page}?session={session}")).error(400, "M_UNKNOWN");
    server.get("", &format!("{page}?session=unknown")).error(400, "M_UNKNOWN");
    confirm(&server, "bob");
    let ticket = format!("/_matrix/client/r0/login/cas/ticket?ticket=a&session={session}");
    server.get("", &ticket).error(400, "M_UNKNOWN");
    let form = format!("session={session}").into_bytes();
    server.run(server.request_bytes("POST", "", page, form)).error(404, "M_NOT_FOUND");
}
