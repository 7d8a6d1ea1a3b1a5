//! HTTP by curl, as the README has it.

use std::process::Command;

use serde_json::Value;
use streamerson_test::Process;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// One request on a connection of its own, with these headers as lines.
pub(crate) async fn send(method: &str, url: &str, headers: &[&str], body: &str) -> Answer {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-i", "-X", method]);
    for header in headers {
        curl.args(["-H", header]);
    }
    if !body.is_empty() {
        curl.args(["--data-binary", body]);
    }
    let finished = Process::spawn({
        curl.arg(url);
        curl
    });
    let finished = finished.wait().await;
    let (head, body) = finished.stdout.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {finished:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
