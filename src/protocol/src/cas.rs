//! What a CAS server says of a ticket: the reply of `/proxyValidate`, CAS Protocol 2.0.

use roxmltree::{Document, Node};

/// Why a ticket shows nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CasError {
    #[error("the reply is no XML: {0}")]
    NotXml(String),
    #[error("the reply is no serviceResponse")]
    NoServiceResponse,
    #[error("the ticket was refused: {0}")]
    Refused(String),
    #[error("the reply names no user")]
    NoUser,
}

/// The name of the user whom a ticket stands for.
///
/// # Errors
/// A reply that says so, or cannot be understood.
pub fn user_of(reply: &str) -> Result<String, CasError> {
    let document = Document::parse(reply).map_err(|error| CasError::NotXml(error.to_string()))?;
    let root = document.root_element();
    if root.tag_name().name() != "serviceResponse" {
        return Err(CasError::NoServiceResponse);
    }
    let Some(success) = child(root, "authenticationSuccess") else {
        let failure = child(root, "authenticationFailure");
        let code = failure.and_then(|failure| failure.attribute("code"));
        return Err(CasError::Refused(code.unwrap_or("without a reason").to_owned()));
    };
    let user = child(success, "user").and_then(|user| user.text()).map(str::trim);
    user.filter(|user| !user.is_empty()).map(str::to_owned).ok_or(CasError::NoUser)
}

fn child<'a>(parent: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    parent.children().find(|node| node.is_element() && node.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(content: &str) -> String {
        let namespace = "xmlns:cas='http://www.yale.edu/tp/cas'";
        format!("<cas:serviceResponse {namespace}>\n{content}\n</cas:serviceResponse>\n")
    }

    fn success(content: &str) -> String {
        reply(&format!("<cas:authenticationSuccess>{content}</cas:authenticationSuccess>"))
    }

    #[test]
    fn a_success_names_its_user() {
        let attributes = "<cas:attributes><cas:user>other</cas:user></cas:attributes>";
        let user = "<cas:user> a&amp;b </cas:user>";
        assert_eq!(user_of(&success(&format!("{attributes}{user}"))), Ok("a&b".to_owned()));
    }

    #[test]
    fn everything_else_names_nobody() {
        let failure =
            "<cas:authenticationFailure code='INVALID_TICKET'>no</cas:authenticationFailure>";
        assert_eq!(user_of(&reply(failure)), Err(CasError::Refused("INVALID_TICKET".to_owned())));
        assert!(matches!(user_of(&reply("")), Err(CasError::Refused(_))));
        assert_eq!(user_of(&success("")), Err(CasError::NoUser));
        assert_eq!(user_of(&success("<cas:user> </cas:user>")), Err(CasError::NoUser));
        assert_eq!(user_of("<html><user>a</user></html>"), Err(CasError::NoServiceResponse));
        for text in ["", "no", "<a>", "<!DOCTYPE a [<!ENTITY b 'b'>]><a>&b;</a>"] {
            assert!(matches!(user_of(text), Err(CasError::NotXml(_))), "{text}");
        }
    }
}
