//! A gateway of ours dies and is replaced in front of workers of the original.

use super::Scene;
use crate::gateway::requests;

#[tokio::test]
async fn a_gateway_that_dies_loses_what_it_was_asked_and_no_more() {
    for role in ["worker", "member"] {
        let scene = Scene::new().await;
        let worker = scene.original(role, "workers").await;
        let cut = scene.gateway().await.ask_through_restarts(requests()).await;
        println!("{cut} requests were cut off with the gateway in front of a {role}");
        // Each one was asked once, but for those that were cut off before they were.
        let asked = scene.asked().await as u64;
        assert!(asked <= requests() && asked >= requests() - cut, "{asked} of {}, {cut} cut off", requests());
        drop(worker);
    }
}
