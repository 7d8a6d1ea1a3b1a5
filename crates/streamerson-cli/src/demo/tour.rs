//! What to try, and what comes of it.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

/// One line to try.
struct Step {
    /// What it shows.
    about: &'static str,
    /// What follows `curl`; `{url}` stands for the gateway's address.
    arguments: &'static str,
    /// What it prints.
    answer: &'static str,
}

const STEPS: [Step; 5] = [
    Step {
        about: "A typed call. The gateway checks the body, any of the workers answers; watch their log.",
        arguments: r#"-s -w '\n' {url}/greet -H 'content-type: application/json' -d '{"name":"Ann"}'"#,
        answer: r#"{"text":"Hello, Ann!"}"#,
    },
    Step {
        about: "A request as it is: path, query and body go to the worker.",
        arguments: r"-s -w '\n' '{url}/hello/Ann?language=fr'",
        answer: r#"{"text":"Bonjour, Ann!"}"#,
    },
    Step {
        about: "The worker says no: its status, and a problem document, which is shown without -o.",
        arguments: r"-s -o /dev/null -w '%{http_code} %{content_type}\n' '{url}/hello/Ann?language=la'",
        answer: "404 application/problem+json",
    },
    Step {
        about: "An event, which nobody answers: 202 as soon as the broker has it.",
        arguments: r#"-s -o /dev/null -w '%{http_code}\n' {url}/views -H 'content-type: application/json' -d '{"page":"/home"}'"#,
        answer: "202",
    },
    Step {
        about: "The worker counts views in batches. This waits for the first; at_least=2 waits for another one.",
        arguments: r"-s -w '\n' '{url}/views?at_least=1'",
        answer: r#"{"views":1}"#,
    },
];

/// Prints the tour of the demo that listens at this address.
pub(super) fn print(address: SocketAddr) -> io::Result<()> {
    let url = format!("http://{address}");
    let mut out = io::stdout().lock();
    writeln!(out, "\nTry these in another terminal; each answers as it says below.\n")?;
    for Step { about, arguments, answer } in STEPS {
        let arguments = arguments.replace("{url}", &url);
        writeln!(out, "{about}\n  $ curl {arguments}\n  {answer}\n")?;
    }
    writeln!(out, "Ctrl-C ends it.\n")?;
    out.flush()
}
