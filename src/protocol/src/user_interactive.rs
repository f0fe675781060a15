//! User-interactive authentication: which stages there are, when they are enough, and what a
//! client is told. Client-Server API, "User-Interactive Authentication API".

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub const DUMMY: &str = "m.login.dummy";
pub const PASSWORD: &str = "m.login.password";
pub const RECAPTCHA: &str = "m.login.recaptcha";
pub const REGISTRATION_TOKEN: &str = "m.login.registration_token";
pub const SSO: &str = "m.login.sso";
pub const TERMS: &str = "m.login.terms";

/// Ways to pass: each is a list of stages, all of which have to be completed.
pub type Flows = Vec<Vec<&'static str>>;

/// The completed stages of a session, with what each has shown.
pub type Completed = BTreeMap<String, Value>;

/// Whether the stages of one of the flows have all been completed.
pub fn is_complete(flows: &[Vec<&'static str>], completed: &Completed) -> bool {
    flows.iter().any(|flow| flow.iter().all(|stage| completed.contains_key(*stage)))
}

/// Whether a stage is part of any flow.
pub fn offers(flows: &[Vec<&'static str>], stage: &str) -> bool {
    flows.iter().flatten().any(|offered| *offered == stage)
}

/// The body that asks for the stages that are missing.
pub fn challenge(
    session_id: &str,
    flows: &[Vec<&'static str>],
    params: &Map<String, Value>,
    completed: &Completed,
) -> Map<String, Value> {
    let flows = flows.iter().map(|stages| json!({ "stages": stages }));
    let fields = [
        ("session", json!(session_id)),
        ("flows", flows.collect()),
        ("params", json!(params)),
        ("completed", completed.keys().map(|stage| json!(stage)).collect()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The flows of a registration.
pub fn registration_flows(needs_token: bool, needs_captcha: bool, has_terms: bool) -> Flows {
    let mut flow = Vec::new();
    if needs_token {
        flow.push(REGISTRATION_TOKEN);
    }
    if needs_captcha {
        flow.push(RECAPTCHA);
    }
    if has_terms {
        flow.push(TERMS);
    }
    // With another stage before it, a dummy at the end would only cost one more request.
    if flow.is_empty() {
        flow.push(DUMMY);
    }
    vec![flow]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(stages: &[&str]) -> Completed {
        stages.iter().map(|stage| ((*stage).to_owned(), json!(true))).collect()
    }

    #[test]
    fn one_whole_flow_is_enough_and_less_is_not() {
        let flows = vec![vec![TERMS, DUMMY], vec![PASSWORD]];
        assert!(is_complete(&flows, &completed(&[DUMMY, TERMS])));
        assert!(is_complete(&flows, &completed(&[PASSWORD])));
        assert!(!is_complete(&flows, &completed(&[TERMS])));
        assert!(!is_complete(&flows, &completed(&[REGISTRATION_TOKEN])));
        assert!(!is_complete(&[], &completed(&[DUMMY])));
    }

    #[test]
    fn a_registration_asks_for_what_is_configured() {
        assert_eq!(registration_flows(false, false, false), [[DUMMY]]);
        assert_eq!(registration_flows(true, false, false), [[REGISTRATION_TOKEN]]);
        assert_eq!(registration_flows(true, false, true), [[REGISTRATION_TOKEN, TERMS]]);
        let all = [[REGISTRATION_TOKEN, RECAPTCHA, TERMS]];
        assert_eq!(registration_flows(true, true, true), all);
    }

    #[test]
    fn the_challenge_names_session_flows_and_what_is_done() {
        let body = challenge("s", &[vec![TERMS, DUMMY]], &Map::new(), &completed(&[TERMS]));
        let expected = json!({
            "session": "s",
            "flows": [{ "stages": ["m.login.terms", "m.login.dummy"] }],
            "params": {},
            "completed": ["m.login.terms"],
        });
        assert_eq!(Value::Object(body), expected);
    }
}
