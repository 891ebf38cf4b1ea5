//! Workers die by SIGKILL under load: every accepted order ends in exactly one kind of end state, and none is lost.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt, stream};
use penstock_tests::scene::{LIMIT, Result, Scene, example, until};
use serde_json::Value;

/// How many orders are posted.
const ORDERS: usize = 400;
/// How many are under way at once.
const AT_ONCE: usize = 16;

/// Posts orders to one gateway; gives the ids of those that were accepted.
async fn load(scene: &Scene, gateway: &str, done: &AtomicBool) -> BTreeSet<String> {
    let accepted = stream::iter(0..ORDERS)
        .map(async |_| {
            let order = example::order();
            let reply = scene.post(gateway, example::GATEWAY_PORT, "/orders", &order).await;
            matches!(reply, Ok(reply) if reply.status == 202).then(|| example::id_of(&order).to_owned())
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |id| id)
        .collect()
        .await;
    done.store(true, Ordering::Release);
    accepted
}

/// Kills one worker after the other until the load is through; gives how many died.
async fn kill(scene: &Scene, done: &AtomicBool) -> Result<usize> {
    let mut killed = 0;
    while !done.load(Ordering::Acquire) {
        for worker in scene.workers(example::PAYMENTS).await? {
            let name = kube::ResourceExt::name_any(&worker);
            // It may be down still from the last time.
            killed += usize::from(scene.kill_worker(&name).await.is_ok());
        }
        tokio::task::yield_now().await;
    }
    Ok(killed)
}

async fn ids(scene: &Scene, topic: &str, id: impl Fn(&Value) -> &Value) -> Result<BTreeSet<String>> {
    let events = scene.events(topic, |_| true).await?;
    Ok(events.iter().filter_map(|e| id(e).as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn every_accepted_order_ends_once_though_workers_are_killed() {
    let run = async || -> Result {
        let scene = example::applied().await?;
        let gateways = scene.ready_workers(example::GATEWAY, 2).await?;
        scene.ready_workers(example::PAYMENTS, 2).await?;

        let done = AtomicBool::new(false);
        let (accepted, killed) = tokio::join!(load(&scene, &gateways[0], &done), kill(&scene, &done));
        let killed = killed?;
        assert!(killed >= 2, "only {killed} workers were killed: this showed nothing");
        assert!(accepted.len() > ORDERS / 2, "only {} orders were accepted", accepted.len());

        let lost = until("every accepted order has its end", LIMIT, async || {
            let paid = ids(&scene, "payments", |e| &e["data"]["orderId"]).await?;
            let dead = ids(&scene, example::DEAD_LETTERS, |e| &e["originalKey"]).await?;
            let both: Vec<_> = accepted.iter().filter(|id| paid.contains(*id) && dead.contains(*id)).cloned().collect();
            let lost = accepted.iter().filter(|id| !paid.contains(*id) && !dead.contains(*id)).count();
            if lost == 0 { Ok(both) } else { Err(format!("{lost} of {} have none", accepted.len()).into()) }
        })
        .await?;
        assert_eq!(lost, Vec::<String>::new(), "paid and dead at once");
        scene.ready_workers(example::PAYMENTS, 2).await?;
        Ok(())
    };
    run().await.unwrap_or_else(|e| panic!("{e}"));
}
