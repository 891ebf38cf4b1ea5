//! `POST /orders` and `GET /orders/:id`.
//!
//! 202 means that Kafka has acknowledged the order, never less. An order id is accepted once: the same order again (numbers by
//! value) is answered with 202 from the table and not produced a second time, another order with a known id with 409. An order that
//! comes with an `Idempotency-Key` carries it in a header of its record; then no other order is accepted with that key.
//!
//! Requests with one id or one key wait for one another. Where keys are kept, what comes with one is written once on all replicas
//! together ([`Once`]). Apart from that, two replicas that get one id before either has read what the other produced
//! may both produce it; it is paid once all the same, since the payment depends on the id alone. What is on its way to Kafka cannot be
//! called back: a client that goes away leaves its order to be decided, and those that come after it wait for that.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use penstock_crds::worker::PipelineId;
use penstock_kafka::Header;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    super::orders::{Fields, Order, OrderCreated, iso, order_of_body, parse_order_id},
    problem,
    reading::{Content, key_header},
    state::Orders,
    table::{Known, Status},
    under_way::UnderWay,
};
use crate::{
    front::{Publish, PublishError},
    http::{Gate, MediaType, Problem, Subject, is_compressed},
    idempotency::{self, KeyId, Once, Stored, key_of},
    processor::Output,
    readiness::Readiness,
};

/// Where orders are placed.
pub const ORDERS: &str = "/orders";
/// Where an order is shown.
pub const ORDER: &str = "/orders/{id}";

/// What requests are answered from.
pub struct Desk {
    /// The pipeline whose orders these are: its keys are its own.
    pub pipeline: PipelineId,
    /// Every known order.
    pub orders: Arc<Orders>,
    /// The topic that orders are written to.
    pub topic: Arc<str>,
    /// Writes to it.
    pub sink: Arc<dyn Publish>,
    /// Writes what comes with a key, where keys are kept.
    pub once: Option<Arc<Once>>,
    /// Whether everything has been read, and Kafka is there.
    pub readiness: Readiness,
    /// Lets orders in.
    pub gate: Gate,
    /// Orders that are being written.
    pub under_way: Arc<UnderWay>,
}

/// All routes.
pub fn routes(desk: Arc<Desk>) -> Router {
    Router::new().route(ORDERS, post(place)).route(ORDER, get(show)).with_state(desk)
}

/// `POST /orders`.
async fn place(State(desk): State<Arc<Desk>>, request: Request) -> Result<Response, Problem> {
    expect_json(request.headers())?;
    let subject = request.extensions().get::<Subject>();
    let key = key_of(request.headers())?.map(|key| KeyId::new(&desk.pipeline.namespace, &desk.pipeline.name, subject, &key));
    let body = desk.gate.admit(request).await.map_err(|why| Problem::of_body(why, desk.gate.max_body_bytes()))?;
    let text = std::str::from_utf8(&body).map_err(|why| Problem::malformed(&format!("is not UTF-8: {why}")))?;
    let order = order_of_body(text)?;
    let order_id = order.order_id;
    let pass = desk.under_way.enter(order_id, key).await.map_err(problem::under_way)?;
    if let Some(key) = key {
        match desk.orders.with_key(key) {
            Some(other) if other != order_id => return Err(problem::key_reused()),
            None if desk.readiness.lacks("table") => return Err(problem::not_caught_up()),
            _ => {}
        }
    }
    match desk.orders.get(&order_id) {
        Some(known) if order_of_body(&known.placed.data).is_ok_and(|placed| placed == order) => {}
        Some(_) => return Err(problem::taken(order_id)),
        None => {
            let output = created(&order, key)?;
            let keyed =
                key.zip(desk.once.clone()).map(|(key, once)| Keyed { once, key, request: idempotency::Request::of(&order.parts()) });
            desk.produce(order_id, output, keyed, (pass, body)).await?;
        }
    }
    let answer = json!({"message": "Order accepted for processing", "orderId": order_id});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// `GET /orders/:id`. What is no UUID is the id of no order. An order is not denied while Kafka is away or not all is read: 503.
async fn show(State(desk): State<Arc<Desk>>, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let order_id = id.ok().and_then(|Path(text)| parse_order_id(&text)).ok_or_else(problem::unknown_order)?;
    match desk.orders.get(&order_id) {
        Some(known) => answer(order_id, &known),
        None if desk.readiness.complaints().is_empty() => Err(problem::unknown_order()),
        None => Err(problem::not_caught_up()),
    }
}

impl Desk {
    /// Produces an order. `held` is what it takes, which is let go once it is decided, whether or not the client still waits.
    async fn produce<H>(self: &Arc<Self>, order_id: Uuid, output: Output, keyed: Option<Keyed>, held: H) -> Result<(), Problem>
    where
        H: Send + 'static,
    {
        let this = Arc::clone(self);
        let work = async move {
            let ended = this.write(order_id, output, keyed).await;
            drop(held);
            ended
        };
        tokio::spawn(work.in_current_span()).await.unwrap_or_else(|panic| Err(internal("produce the order", &panic)))
    }

    async fn write(&self, order_id: Uuid, output: Output, keyed: Option<Keyed>) -> Result<(), Problem> {
        let stored = match keyed {
            Some(keyed) => keyed.write(order_id, output.clone()).await?,
            None => self.publish(order_id, output.clone()).await?,
        };
        // What was written before has a time of its own: it is taken from its record.
        if stored == Stored::Now {
            // The record is in Kafka and this replica will read it again, to no effect; until then it need not deny the order.
            let Output { key, payload, headers } = &output;
            let content = Content { key: key.as_deref(), payload: payload.as_deref(), headers, timestamp_ms: None };
            self.orders.take(&self.topic, content);
        }
        Ok(())
    }

    async fn publish(&self, order_id: Uuid, output: Output) -> Result<Stored, Problem> {
        match self.sink.publish(output).await {
            Ok(position) => {
                tracing::info!(%order_id, partition = position.partition, offset = position.offset, "order accepted");
                Ok(Stored::Now)
            }
            Err(PublishError::TooLarge(_)) => Err(problem::record_too_large()),
            Err(why @ PublishError::Unavailable(_)) => {
                tracing::warn!(%order_id, %why, "order not acknowledged");
                Err(problem::unacknowledged(order_id))
            }
            Err(PublishError::NotSent(pause)) => Err(problem::not_sent(pause)),
            Err(why @ PublishError::Refused(_)) => Err(internal("produce the order", &why)),
        }
    }
}

/// An order that came with a key, where keys are kept.
struct Keyed {
    once: Arc<Once>,
    key: KeyId,
    request: idempotency::Request,
}

impl Keyed {
    async fn write(self, order_id: Uuid, output: Output) -> Result<Stored, Problem> {
        match self.once.write(self.key, self.request, vec![output], ()).await {
            Ok(stored) => {
                tracing::info!(%order_id, ?stored, "order accepted with a key");
                Ok(stored)
            }
            Err(why) => {
                tracing::warn!(%order_id, ?why, "an order with a key was not written");
                Err(problem::of_key(order_id, &why))
            }
        }
    }
}

/// The record that says that an order was placed, and with which key.
fn created(order: &Order<'_>, idempotency: Option<KeyId>) -> Result<Output, Problem> {
    let event = OrderCreated::new(order, Uuid::new_v4(), Timestamp::now());
    let payload: Bytes = serde_json::to_vec(&event).map_err(|why| internal("write the event", &why))?.into();
    let headers: Vec<Header> = idempotency.into_iter().map(key_header).collect();
    Ok(Output { key: Some(Bytes::from(order.order_id.to_string())), payload: Some(payload), headers })
}

fn internal(task: &'static str, why: &dyn std::error::Error) -> Problem {
    tracing::error!(task, %why, "request failed");
    Problem::internal()
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let media = MediaType::of(headers);
    if media.is_json() && media.is_utf8() && !is_compressed(headers) { Ok(()) } else { Err(problem::not_json()) }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    order_id: Uuid,
    user_id: Option<&'a RawValue>,
    amount: Option<&'a RawValue>,
    currency: Option<&'a RawValue>,
    items: Option<&'a RawValue>,
    status: &'static str,
    payment_id: Option<&'a str>,
    created_at: String,
    updated_at: String,
}

/// What stood in the order's event, word for word; null for what did not (an order that breaks the rules, and fails for it).
fn answer(order_id: Uuid, known: &Known) -> Result<Response, Problem> {
    let fields =
        Fields::parse(&known.placed.data, &["userId", "amount", "currency", "items"]).map_err(|why| internal("read an order", &why))?;
    let (status, payment_id) = match &known.status {
        Status::Pending => ("pending", None),
        Status::Completed(paid) => ("completed", Some(&*paid.payment_id)),
        Status::Failed(_) => ("failed", None),
    };
    let answer = Answer {
        order_id,
        user_id: fields.raw("userId"),
        amount: fields.raw("amount"),
        currency: fields.raw("currency"),
        items: fields.raw("items"),
        status,
        payment_id,
        created_at: iso(known.placed.at),
        updated_at: iso(known.updated_at()),
    };
    Ok(Json(answer).into_response())
}
