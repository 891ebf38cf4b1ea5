//! The proxy between a client and a peer that answers each request with its body, over real connections.

use std::{sync::Mutex, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use super::*;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A request of that kind and correlation id, without a client id, with a body.
fn request(api: Api, correlation: i32, body: &[u8]) -> Vec<u8> {
    // Version 0 of a transactional request: the client id (null), then the transactional id `t`.
    let head = [&(api as i16).to_be_bytes()[..], &[0, 0], &correlation.to_be_bytes(), &[0xff, 0xff], &[0, 1, b't']].concat();
    framed(&[&head, body].concat())
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// The peer: tells the correlation ids it has seen, in order, and answers with the correlation id and what follows it.
struct Peer {
    address: SocketAddr,
    seen: watch::Receiver<Vec<i32>>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    while let Some(frame) = read_frame(&mut stream).await {
                        let correlation = i32::from_be_bytes(frame[4..8].try_into().unwrap());
                        seen.send_modify(|seen| seen.push(correlation));
                        let _ = stream.write_all(&framed(&frame[4..])).await;
                    }
                });
            }
        });
        Self { address, seen: receiver }
    }

    async fn saw(&mut self, expected: &[i32]) {
        tokio::time::timeout(LIMIT, self.seen.wait_for(|seen| seen == expected)).await.unwrap().unwrap();
    }
}

struct Scene {
    peer: Peer,
    proxy: Proxy,
    rules: Arc<Rules>,
    killed: Arc<Mutex<Vec<Ends>>>,
}

impl Scene {
    async fn new() -> Self {
        let peer = Peer::start().await;
        let (rules, killed) = (Arc::new(Rules::default()), Arc::new(Mutex::new(Vec::new())));
        let strike: Strike = Box::new({
            let killed = Arc::clone(&killed);
            move |ends, _| {
                killed.lock().unwrap().push(ends);
                true
            }
        });
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), peer.address, Arc::clone(&rules), strike).await.unwrap();
        Self { peer, proxy, rules, killed }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }
}

async fn is_over(client: &mut TcpStream) -> bool {
    matches!(tokio::time::timeout(LIMIT, client.read_u8()).await, Ok(Err(_)))
}

#[tokio::test]
async fn without_rules_bytes_pass_in_both_directions() {
    let mut scene = Scene::new().await;
    let mut client = scene.client().await;
    let large = vec![7; 3 << 20];
    for (correlation, body) in [(1, &b""[..]), (2, b"abc"), (3, &large)] {
        let frame = request(Api::Produce, correlation, body);
        client.write_all(&frame).await.unwrap();
        assert_eq!(read_frame(&mut client).await.unwrap(), frame[8..]);
    }
    scene.peer.saw(&[1, 2, 3]).await;
}

#[tokio::test]
async fn a_blow_falls_where_its_rule_says() {
    for (plan, seen, reply) in [
        (Plan::Before(Blow::Cut), &[1][..], false),
        (Plan::ReplyLost(Blow::Cut), &[1, 2], false),
        (Plan::Replied(Blow::Cut), &[1, 2], true),
        (Plan::Before(Blow::Kill), &[1], false),
        (Plan::ReplyLost(Blow::Kill), &[1, 2], false),
        (Plan::Replied(Blow::Kill), &[1, 2], true),
    ] {
        let mut scene = Scene::new().await;
        let rule = scene.rules.arm(Rule { api: Api::EndTxn, nth: 1, plan });
        let mut client = scene.client().await;
        let ends = Ends { local: client.local_addr().unwrap(), remote: client.peer_addr().unwrap() };
        client.write_all(&request(Api::Produce, 1, b"p")).await.unwrap();
        assert!(read_frame(&mut client).await.is_some(), "{plan:?}");
        client.write_all(&request(Api::EndTxn, 2, b"e")).await.unwrap();
        assert_eq!(read_frame(&mut client).await.is_some(), reply, "{plan:?}");
        assert!(is_over(&mut client).await, "{plan:?}");
        scene.peer.saw(seen).await;
        let kills = matches!(plan, Plan::Before(Blow::Kill) | Plan::ReplyLost(Blow::Kill) | Plan::Replied(Blow::Kill));
        let expected = if kills { vec![ends] } else { vec![] };
        assert_eq!(*scene.killed.lock().unwrap(), expected, "{plan:?}");
        assert_eq!(scene.rules.fired(rule), 1, "{plan:?}");
    }
}

#[tokio::test]
async fn a_held_request_arrives_in_the_next_transaction_though_its_client_is_gone() {
    let mut scene = Scene::new().await;
    let hold = Hold { cut: true, until: &[Api::AddPartitionsToTxn], longest: Duration::from_secs(60), then_kill: None };
    let rule = scene.rules.arm(Rule { api: Api::EndTxn, nth: 1, plan: Plan::Hold(hold) });
    let mut first = scene.client().await;
    first.write_all(&request(Api::EndTxn, 1, b"held")).await.unwrap();
    assert!(is_over(&mut first).await);
    drop(first);
    let mut second = scene.client().await;
    for (api, correlation) in [(Api::EndTxn, 2), (Api::AddPartitionsToTxn, 3)] {
        second.write_all(&request(api, correlation, b"")).await.unwrap();
        assert!(read_frame(&mut second).await.is_some());
    }
    scene.peer.saw(&[2, 3, 1]).await;
    assert_eq!(scene.rules.fired(rule), 1);
}

#[tokio::test]
async fn a_client_that_waits_gets_the_answer_once_its_request_is_released() {
    let mut scene = Scene::new().await;
    scene.rules.arm(Rule {
        api: Api::Produce,
        nth: 1,
        plan: Plan::Hold(Hold { cut: false, until: &[], longest: Duration::from_millis(50), then_kill: None }),
    });
    let mut client = scene.client().await;
    for (api, correlation) in [(Api::Produce, 0), (Api::EndTxn, 1)] {
        client.write_all(&request(api, correlation, b"")).await.unwrap();
    }
    scene.peer.saw(&[0, 1]).await;
    assert!(read_frame(&mut client).await.is_some());
    assert!(read_frame(&mut client).await.is_some());
}
