//! Workers of both pipelines die by SIGKILL under load: every accepted order ends in exactly one kind of end state, and none
//! is lost.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::{StreamExt, stream};
use penstock_tests::scene::{LIMIT, Result, Scene, example, until};
use serde_json::Value;
use tokio::sync::watch;

/// How many orders are posted.
const ORDERS: usize = 400;
/// How many are under way at once.
const AT_ONCE: usize = 16;

/// Posts orders to the gateways in turn, each until one accepts it, as a careful client does; gives the ids, and counts them.
async fn load(scene: &Scene, gateways: &[String], count: watch::Sender<usize>, done: &AtomicBool) -> Result<BTreeSet<String>> {
    let accepted: Vec<Result<String>> = stream::iter(0..ORDERS)
        .map(async |mut turn| -> Result<String> {
            let order = example::order();
            until("an order is accepted", LIMIT, async || {
                turn += 1;
                let reply = scene.post(&gateways[turn % gateways.len()], example::GATEWAY_PORT, "/orders", &order).await?;
                if reply.status == 202 { Ok(()) } else { Err(format!("{reply:?}").into()) }
            })
            .await?;
            count.send_modify(|count| *count += 1);
            Ok(example::id_of(&order).to_owned())
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    done.store(true, Ordering::Release);
    accepted.into_iter().collect()
}

/// Kills every gateway once, each when a further quarter of the orders is accepted.
async fn kill_gateways(scene: &Scene, gateways: &[String], mut accepted: watch::Receiver<usize>) -> Result {
    for (number, gateway) in gateways.iter().enumerate() {
        accepted.wait_for(|count| *count >= ORDERS * (number + 1) / 4).await?;
        scene.kill_worker(gateway).await?;
    }
    Ok(())
}

/// Kills one worker of `payments` after the other until the load is through; gives how many died.
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
        let (count, counted) = watch::channel(0);
        let (accepted, killed, gateways_killed) =
            tokio::join!(load(&scene, &gateways, count, &done), kill(&scene, &done), kill_gateways(&scene, &gateways, counted));
        let (accepted, killed) = (accepted?, killed?);
        gateways_killed?;
        assert!(killed >= 2, "only {killed} workers were killed: this showed nothing");
        assert_eq!(accepted.len(), ORDERS);

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
        // What a gateway had accepted before it died is known to it and to the other.
        scene.ready_workers(example::GATEWAY, 2).await?;
        for (gateway, id) in gateways.iter().flat_map(|gateway| accepted.iter().take(20).map(move |id| (gateway, id))) {
            scene.settled(gateway, id).await?;
        }
        Ok(())
    };
    run().await.unwrap_or_else(|e| panic!("{e}"));
}
