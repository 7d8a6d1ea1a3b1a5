//! A thousand clients that hang up in the middle of their request leave nothing behind.

use std::fs;

use streamerson::core::Topic;
use streamerson_test::eventually;

use super::scene::{Gateway, HELD, Worker};
use crate::support::Scene;

const CONFIG: &str = r#"
[admin]
listen = "127.0.0.1:0"

[[route]]
method = "POST"
path = "/ask/{case}"
topic = "orders"
event = "order.update"
timeout = "30s"
"#;

const CLIENTS: usize = 1_000;
/// How many of them are there at the same time: a thousand sockets and their other ends are more than some systems allow a
/// process.
const AT_ONCE: usize = 250;

impl Gateway {
    async fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.admin().await.exchange("GET /metrics", &[], "").await.ok()?.text();
        let values = metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<u64>().ok()).sum()
    }

    /// The sockets that the process has open.
    fn sockets(&self) -> usize {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("Linux");
        let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "it looks at /proc")]
async fn a_thousand_clients_that_hang_up_leave_nothing_behind() {
    let scene = Scene::new().await;
    let gateway = Gateway::start(&scene.server, "hang-ups", CONFIG).await;
    let worker = Worker::start(&scene.broker, "orders").await;
    assert_eq!(gateway.ask("POST /ask/echo", &[], "1").await.text(), "1");
    eventually("the first to be gone", async || {
        (gateway.metric("streamerson_gateway_pending_calls").await == Some(0)).then_some(())
    })
    .await;
    // The question itself has two ends here.
    let sockets = gateway.sockets();
    let inbound = Topic::new("orders").unwrap().inbound();
    let mut asked = 0;
    while asked < CLIENTS {
        let mut clients = Vec::new();
        for client in asked..asked + AT_ONCE {
            let mut connection = gateway.connect().await;
            // Some in the middle of the head, some in the middle of the body, most while they wait.
            match client % 10 {
                0 => connection.write("POST /ask/held HTTP/1.1\r\nhost: x\r\ncont").await.unwrap(),
                1 => connection
                    .write("POST /ask/held HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12")
                    .await
                    .unwrap(),
                2 => connection
                    .write("POST /ask/held HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n1")
                    .await
                    .unwrap(),
                _ => connection.send("POST /ask/held", &[], "1").await.unwrap(),
            }
            clients.push(connection);
        }
        let waiting = u64::try_from(AT_ONCE / 10 * 7).unwrap();
        eventually("them to wait", async || {
            (gateway.metric("streamerson_gateway_pending_calls").await >= Some(waiting)).then_some(())
        })
        .await;
        drop(clients);
        asked += AT_ONCE;
        eventually("their calls to be forgotten", async || {
            (gateway.metric("streamerson_gateway_pending_calls").await == Some(0)).then_some(())
        })
        .await;
    }
    eventually("their sockets to be closed", async || (gateway.sockets() <= sockets).then_some(())).await;
    assert_eq!(gateway.metric("streamerson_gateway_requests_in_flight").await, Some(0));
    // One inbox for the process, as it was before.
    let inboxes = scene.server.command(["KEYS", "{default:orders}:re:*"]).await;
    assert_eq!(inboxes.items().len(), 1, "{inboxes:?}");
    HELD.add_permits(CLIENTS);
    // All were handled or taken back, and what is settled is trimmed. How much is not delivered Redis cannot say after
    // some of what it counts was removed.
    eventually("all to be settled", async || {
        let (pending, _) = scene.pending_and_lag("orders", "orders").await?;
        (pending == 0).then_some(())
    })
    .await;
    // What is read is trimmed, the topic by its worker and the inbox by the gateway, a node of the stream at a time.
    eventually("both streams to shrink", async || {
        assert_eq!(gateway.ask("POST /ask/echo", &[], "2").await.text(), "2");
        let len = scene.broker.stream_info(&inbound).await.unwrap().map_or(0, |info| info.len);
        let inbox = scene.server.command(["XLEN", inboxes.items()[0].text()]).await.int();
        (len <= 200 && inbox <= 200).then_some(())
    })
    .await;
    assert_eq!(gateway.process.terminate().await.status.code(), Some(0));
    let inboxes = scene.server.command(["KEYS", "{default:orders}:re:*"]).await;
    assert!(inboxes.items().is_empty(), "{inboxes:?}");
    worker.stop().await;
}
