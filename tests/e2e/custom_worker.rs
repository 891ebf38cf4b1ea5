//! A worker of one's own, from the manifests of `examples/custom-worker`.

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use penstock_crds::EventPipeline;
use penstock_kafka::Record;
use penstock_tests::scene::{LIMIT, Result, Scene, condition, play, until};
use serde_json::{Value, json};

const INTAKE_PORT: u16 = 3000;
const ADMIN_PORT: u16 = 8080;

#[tokio::test]
async fn a_worker_of_ones_own_screens_orders_and_says_what_is_none() {
    play("custom-worker", async |scene| {
        scene.apply_example("custom-worker").await?;
        scene.ready::<EventPipeline>("intake").await?;
        scene.ready::<EventPipeline>("screening").await?;
        let intake = scene.ready_workers("intake", 1).await?;
        let workers = scene.ready_workers("screening", 1).await?;
        let (orders, verdicts) = (scene.kafka_name("screening.orders"), scene.kafka_name("screening.verdicts"));

        scene.produce(Record::to(&orders).with_key("anna").with_payload("not json")).await?;
        for (id, amount) in [("o-1", 20), ("o-2", 900)] {
            let order = json!({"orderId": id, "userId": "anna", "amount": amount});
            assert_eq!(scene.post(&intake[0], INTAKE_PORT, "/orders", &order).await?.status, 202);
        }
        let screened = until("both orders are screened", LIMIT, async || {
            let found = scene.events(&verdicts, |_| true).await?;
            if found.len() == 2 { Ok(found) } else { Err(format!("{} are", found.len()).into()) }
        })
        .await?;
        let told: Vec<_> = screened.iter().map(|verdict| (&verdict["orderId"], &verdict["suspicious"])).collect();
        // The option `maxAmount` is 500. Both orders are of one user, so their order stays.
        assert_eq!(told, [(&json!("o-1"), &json!(false)), (&json!("o-2"), &json!(true))]);

        let dead_letters = scene.api::<EventPipeline>().get("screening").await?.status.and_then(|status| status.dead_letter_topic);
        let letters = scene.records(&dead_letters.ok_or("no dead letter topic")?).await?;
        assert_eq!(letters.iter().map(|letter| letter.payload.as_deref()).collect::<Vec<_>>(), [Some(&b"not json"[..])]);
        let header = letters[0].header("penstock-dlt-error-type").and_then(|header| header.value.clone());
        assert_eq!(header.as_deref(), Some(&b"NoOrder"[..]));

        let metrics = scene.get(&workers[0], ADMIN_PORT, "/metrics").await?.body;
        let metrics = metrics.as_str().unwrap_or_default();
        assert!(metrics.contains("penstock_worker_orders_suspicious_total 1"), "{metrics}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn while_its_service_is_away_an_order_is_tried_again_and_then_a_dead_letter() {
    play("custom-worker-retry", async |scene| {
        scene.apply_example("custom-worker").await?;
        screening_as(scene, |spec| {
            spec["processor"]["options"] = json!({"riskService": "http://nobody.invalid:8080", "lookupTimeout": "500ms"});
            spec["retry"] = json!({"attempts": 3});
        })
        .await?;
        scene.ready_workers("screening", 1).await?;
        let order = json!({"orderId": "o-1", "userId": "anna", "amount": 20});
        scene.produce(Record::to(scene.kafka_name("screening.orders")).with_key("anna").with_payload(order.to_string())).await?;
        let pipeline = scene.ready::<EventPipeline>("screening").await?;
        let dead_letters = pipeline.status.and_then(|status| status.dead_letter_topic).ok_or("no dead letter topic")?;
        let letter = until("the order is a dead letter", LIMIT, async || {
            scene.records(&dead_letters).await?.pop().ok_or_else(|| "there is none".into())
        })
        .await?;
        for (name, expected) in [("error-type", "RiskUnavailable"), ("retry-count", "2")] {
            let header = letter.header(&format!("penstock-dlt-{name}")).and_then(|header| header.value.clone());
            assert_eq!(header.as_deref(), Some(expected.as_bytes()), "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_option_that_the_worker_does_not_take_is_told_by_the_pipeline_while_the_old_worker_goes_on() {
    play("custom-worker-options", async |scene| {
        scene.apply_example("custom-worker").await?;
        scene.ready::<EventPipeline>("screening").await?;
        let before = scene.ready_workers("screening", 1).await?;
        let misspelt = Patch::Merge(json!({"spec": {"processor": {"options": {"maxAmmount": "5"}}}}));
        scene.api::<EventPipeline>().patch("screening", &PatchParams::default(), &misspelt).await?;
        until("the pipeline says which option", LIMIT, async || {
            let status = scene.api::<EventPipeline>().get("screening").await?.status.unwrap_or_default();
            let told = condition(&status.conditions, "WorkersAvailable").map(|condition| condition.message.clone()).unwrap_or_default();
            if told.contains("`maxAmmount` is not an option: this worker takes maxAmount") { Ok(()) } else { Err(told.into()) }
        })
        .await?;

        let order = json!({"orderId": "o-1", "userId": "anna", "amount": 20});
        scene.produce(Record::to(scene.kafka_name("screening.orders")).with_key("anna").with_payload(order.to_string())).await?;
        until("the old worker screens an order", LIMIT, async || {
            let found = scene.events(&scene.kafka_name("screening.verdicts"), |_| true).await?;
            if found.len() == 1 { Ok(()) } else { Err(format!("{} are screened", found.len()).into()) }
        })
        .await?;
        let workers: Vec<String> = scene.workers("screening").await?.iter().map(ResourceExt::name_any).collect();
        assert!(before.iter().all(|old| workers.contains(old)), "{before:?} of {workers:?}");
        Ok(())
    })
    .await;
}

/// Puts another pipeline in the place of the example's: some of a spec can only grow.
async fn screening_as(scene: &Scene, change: impl FnOnce(&mut Value)) -> Result {
    let mut spec = serde_json::to_value(&scene.api::<EventPipeline>().get("screening").await?.spec)?;
    change(&mut spec);
    scene.delete::<EventPipeline>("screening").await?;
    scene.apply::<EventPipeline>("screening", spec).await?;
    Ok(())
}
