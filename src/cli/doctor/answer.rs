//! What an answer says to the doctor.

use serde_json::Value as Json;

use crate::cli::client::Answer;

impl Answer {
    /// Whether relay has answered: it answers errors with JSON of two shapes (docs/protocol.md, Status codes).
    pub fn is_of_relay(&self) -> bool {
        let json = self.json();
        json.get("code").is_some_and(Json::is_number) && (json.get("msg").is_some() || json.get("message").is_some())
    }

    /// What the answer says, for a sentence: the status, the program that names itself, and the begin of a text.
    pub fn describe(&self) -> String {
        let json = self.json();
        let said = ["reason", "msg", "message"].iter().find_map(|name| json.get(*name)?.as_str());
        let said = said.map(str::to_owned).unwrap_or_else(|| title(&String::from_utf8_lossy(&self.body)));
        let said: String = said.chars().take(MAX_SAID).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {said:?}") };
        let server: String = self.header("server").chars().take(MAX_SAID).collect();
        let server = if server.is_empty() { String::new() } else { format!(" by {server}") };
        format!("status {}{server}{said}", self.status)
    }
}

/// The title of a page, or else the first line of a text.
fn title(body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let within = lower.find("<title>").map(|at| at + "<title>".len());
    let found = within.and_then(|begin| Some(&body[begin..begin + lower[begin..].find("</title>")?]));
    found.unwrap_or_else(|| body.trim_start().lines().next().unwrap_or_default()).trim().to_owned()
}

/// Characters of what others say in a sentence.
const MAX_SAID: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_a_sentence() {
        let answer = |body: &str| Answer { status: 404, headers: Vec::new(), body: body.into() };
        assert_eq!(answer("").describe(), "status 404");
        assert_eq!(answer("<HTML><Title>404 Not\nFound</title>").describe(), "status 404: \"404 Not\\nFound\"");
        assert_eq!(answer("{\"code\":0,\"msg\":\"no\",\"reason\":\"so\"}").describe(), "status 404: \"so\"");
        assert!(answer(&"ä".repeat(1000)).describe().len() < 300);
        assert!(answer("{\"code\":3,\"message\":\"Bad request\"}").is_of_relay());
        assert!(!answer("{\"message\":\"no Route matched\"}").is_of_relay());
        let nginx = Answer { headers: vec![("server".into(), "nginx".into())], ..answer("") };
        assert_eq!(nginx.describe(), "status 404 by nginx");
    }
}
