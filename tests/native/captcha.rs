//! Registrations for which a captcha has to be solved.

use crate::support::{PASSWORD, Server};
use serde_json::{Value, json};

const REGISTER: &str = "/_matrix/client/v3/register";
const SITEVERIFY: &str = "https://captcha.test/siteverify";

/// A registration that a dummy stage is enough for.
fn dummy(username: &str) -> Value {
    json!({ "auth": { "type": "m.login.dummy" }, "username": username, "password": PASSWORD })
}

fn captcha_server(is_required: bool) -> Server {
    Server::with(&[
        ("RECAPTCHA_PUBLIC_KEY", "the public key"),
        ("RECAPTCHA_PRIVATE_KEY", "the private key"),
        ("RECAPTCHA_SITEVERIFY_API", SITEVERIFY),
        ("REGISTRATION_CAPTCHA", if is_required { "true" } else { "false" }),
    ])
}

fn with_captcha(username: &str, response: Value) -> Value {
    let auth = json!({ "type": "m.login.recaptcha", "response": response });
    json!({ "auth": auth, "username": username, "password": PASSWORD })
}

#[test]
fn a_captcha_that_is_required_has_to_be_solved() {
    let server = captcha_server(true);
    let refused = server.post("", REGISTER, dummy("alice"));
    refused.error(400, "M_UNRECOGNIZED");
    let challenge = server.post("", REGISTER, json!({ "username": "alice" })).error(401, "");
    assert_eq!(challenge["flows"], json!([{ "stages": ["m.login.recaptcha"] }]));
    let params = json!({ "m.login.recaptcha": { "public_key": "the public key" } });
    assert_eq!(challenge["params"], params);
    let missing = with_captcha("alice", Value::Null);
    server.post("", REGISTER, missing).error(400, "M_CAPTCHA_NEEDED");
    let solved = with_captcha("alice", json!("re=sponse"));
    server.post("", REGISTER, solved.clone()).error(502, "M_UNKNOWN");
    for verdict in ["{}", "{\"success\":false}"] {
        server.platform.internet.answer(SITEVERIFY, 200, verdict);
        server.post("", REGISTER, solved.clone()).error(401, "M_UNAUTHORIZED");
    }
    for verdict in ["no", "{\"success\":1}", &" ".repeat(100_000)] {
        server.platform.internet.answer(SITEVERIFY, 200, verdict);
        server.post("", REGISTER, solved.clone()).error(502, "M_UNKNOWN");
    }
    server.platform.internet.answer(SITEVERIFY, 200, "{\"success\":true}");
    server.platform.internet.take_requests();
    server.post("", REGISTER, solved).ok();
    let [request] = &server.platform.internet.take_requests()[..] else { panic!("one request") };
    let form = std::str::from_utf8(request.body()).unwrap();
    assert_eq!(form, "secret=the+private+key&response=re%3Dsponse&remoteip=192.0.2.1");
}

#[test]
fn a_captcha_that_is_not_required_can_be_solved_but_is_not_enough() {
    let server = captcha_server(false);
    server.platform.internet.answer(SITEVERIFY, 200, "{\"success\":true}");
    let body = with_captcha("alice", json!("response"));
    let challenge = server.post("", REGISTER, body).error(401, "");
    assert_eq!(challenge["completed"], json!(["m.login.recaptcha"]));
    assert_eq!(challenge["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    server.post("", REGISTER, dummy("alice")).ok();
    let without = Server::new();
    let body = with_captcha("alice", json!("response"));
    without.post("", REGISTER, body).error(400, "M_UNRECOGNIZED");
}

#[test]
fn a_captcha_can_be_solved_on_its_page() {
    let server = captcha_server(true);
    let body = json!({ "username": "alice", "password": PASSWORD });
    let session = server.post("", REGISTER, body).body["session"].clone();
    let session = session.as_str().unwrap();
    let path = "/_matrix/client/v3/auth/m.login.recaptcha/fallback/web";
    let shown = server.get("", &format!("{path}?session={session}"));
    assert!(String::from_utf8(shown.bytes).unwrap().contains("data-sitekey=\"the public key\""));
    let send =
        |fields: String| server.run(server.request_bytes("POST", "", path, fields.into_bytes()));
    assert_eq!(send(format!("session={session}")).status, 401);
    server.platform.internet.answer(SITEVERIFY, 200, "{\"success\":true}");
    assert_eq!(send(format!("session={session}&g-recaptcha-response=abc")).status, 200);
    server.post("", REGISTER, json!({ "auth": { "session": session } })).ok();
}

#[test]
fn a_captcha_cannot_be_required_without_its_keys() {
    let required = ("REGISTRATION_CAPTCHA".to_owned(), "true".to_owned());
    let error = myelin::config::Config::read([required]).unwrap_err().to_string();
    assert_eq!(error, "REGISTRATION_CAPTCHA is not valid: RECAPTCHA_PUBLIC_KEY is not set");
}
