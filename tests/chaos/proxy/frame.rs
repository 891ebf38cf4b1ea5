//! Splits a stream of bytes into Kafka's frames. Pure, and independent of how the bytes were cut on their way.
//!
//! A request is kept whole, since it may have to be held; its size is bounded. A reply is passed on as it comes: it may be
//! large, and only its beginning is looked at.

use std::collections::VecDeque;

/// No worker sends more than a batch at once, so a longer request is a broken stream.
const MAX_REQUEST: usize = 32 << 20;
const LENGTH: usize = 4;
/// The length and the correlation id of a reply.
const REPLY_HEAD: usize = 8;

/// A stream that is not Kafka's protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame says that it has {0} bytes: this is not Kafka's protocol")]
pub struct NotKafka(i32);

/// A kind of request, by its key in Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum Api {
    /// Writes batches of records.
    Produce = 0,
    /// Commits offsets outside of a transaction.
    OffsetCommit = 8,
    /// Begins an epoch of a producer.
    InitProducerId = 22,
    /// Begins or widens a transaction.
    AddPartitionsToTxn = 24,
    /// Takes a group's offsets into a transaction.
    AddOffsetsToTxn = 25,
    /// Commits or aborts a transaction.
    EndTxn = 26,
    /// Commits offsets in a transaction.
    TxnOffsetCommit = 28,
}

impl Api {
    /// All kinds that rules can be about.
    pub const ALL: [Self; 7] = [
        Self::Produce,
        Self::OffsetCommit,
        Self::InitProducerId,
        Self::AddPartitionsToTxn,
        Self::AddOffsetsToTxn,
        Self::EndTxn,
        Self::TxnOffsetCommit,
    ];

    fn of(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| *api as i16 == key)
    }

    /// From which version on the request is in the flexible form of KIP-482. None: its body does not begin with a transactional id.
    fn flexible_from(self) -> Option<i16> {
        match self {
            Self::Produce => Some(9),
            Self::InitProducerId => Some(2),
            Self::AddPartitionsToTxn | Self::AddOffsetsToTxn | Self::EndTxn | Self::TxnOffsetCommit => Some(3),
            Self::OffsetCommit => None,
        }
    }
}

/// What stands at the beginning of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What it asks for; none for a kind that no rule is about.
    pub api: Option<Api>,
    /// Returned in the reply.
    pub correlation: i32,
    /// The transactional id of the producer that sends it.
    pub transactional_id: Option<String>,
}

impl RequestHead {
    /// Reads the beginning of a frame, which has its length in front. None: too short for a request.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let mut rest = Cursor(frame.get(LENGTH..)?);
        let (key, version, correlation) = (rest.i16()?, rest.i16()?, rest.i32()?);
        let api = Api::of(key);
        let transactional_id = api.and_then(|api| rest.transactional_id(api, version));
        Some(Self { api, correlation, transactional_id })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// One byte is enough: a client id or transactional id of 127 bytes or more is not one of ours.
    fn short_varint(&mut self) -> Option<usize> {
        let byte = *self.take(1)?.first()?;
        (byte < 0x80).then_some(usize::from(byte))
    }

    fn transactional_id(&mut self, api: Api, version: i16) -> Option<String> {
        let flexible = version >= api.flexible_from()?;
        let client_id = self.i16()?;
        self.take(usize::try_from(client_id).unwrap_or(0))?;
        let length = if flexible {
            // The header's tagged fields: there are none.
            if self.short_varint()? != 0 {
                return None;
            }
            self.short_varint()?.checked_sub(1)?
        } else {
            usize::try_from(self.i16()?).ok()?
        };
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }
}

/// Cuts what a client sends into whole requests.
#[derive(Debug, Default)]
pub struct Requests {
    buffer: VecDeque<u8>,
}

impl Requests {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next request, with its length in front, if it is complete.
    ///
    /// # Errors
    /// What was read is no request.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, NotKafka> {
        let mut head = self.buffer.iter().copied();
        let (Some(a), Some(b), Some(c), Some(d)) = (head.next(), head.next(), head.next(), head.next()) else { return Ok(None) };
        let length = i32::from_be_bytes([a, b, c, d]);
        let whole = usize::try_from(length).ok().filter(|length| *length <= MAX_REQUEST).ok_or(NotKafka(length))? + LENGTH;
        Ok((self.buffer.len() >= whole).then(|| self.buffer.drain(..whole).collect()))
    }
}

/// A part of what a broker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A reply begins; these are its first bytes.
    Begin {
        /// Of the request that it answers.
        correlation: i32,
        /// The length and the correlation id, as they were.
        head: [u8; REPLY_HEAD],
    },
    /// More of the reply that began last.
    Body(Vec<u8>),
    /// The reply is complete.
    End,
}

/// Cuts what a broker sends into replies, without keeping more than what was read at once.
#[derive(Debug, Default)]
pub struct Replies {
    head: Vec<u8>,
    /// How much of the reply that began is still to come.
    left: Option<usize>,
}

impl Replies {
    /// The parts of what was read.
    ///
    /// # Errors
    /// What was read is no reply.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Part>, NotKafka> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let left = match self.left {
                Some(left) => left,
                None => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(REPLY_HEAD - self.head.len()));
                    self.head.extend(taken);
                    bytes = rest;
                    let Ok(head) = <[u8; REPLY_HEAD]>::try_from(self.head.as_slice()) else { break };
                    self.head.clear();
                    let [a, b, c, d, e, f, g, h] = head;
                    let length = i32::from_be_bytes([a, b, c, d]);
                    let left = usize::try_from(length).ok().and_then(|length| length.checked_sub(LENGTH)).ok_or(NotKafka(length))?;
                    parts.push(Part::Begin { correlation: i32::from_be_bytes([e, f, g, h]), head });
                    left
                }
            };
            let (taken, rest) = bytes.split_at(bytes.len().min(left));
            if !taken.is_empty() {
                parts.push(Part::Body(taken.to_vec()));
            }
            bytes = rest;
            self.left = Some(left - taken.len()).filter(|left| *left > 0);
            if self.left.is_none() {
                parts.push(Part::End);
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::{
            AddOffsetsToTxnRequest, ApiKey, EndTxnRequest, InitProducerIdRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest,
            RequestHeader, TransactionalId, TxnOffsetCommitRequest,
        },
        protocol::{Encodable, StrBytes},
    };
    use proptest::prelude::*;

    use super::*;

    fn id(name: &'static str) -> TransactionalId {
        TransactionalId(StrBytes::from_static_str(name))
    }

    fn request(api: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(77)
            .with_client_id(Some(StrBytes::from_static_str("penstock-shop.payments")));
        let mut bytes = Vec::new();
        header.encode(&mut bytes, api.request_header_version(version)).unwrap();
        body.encode(&mut bytes, version).unwrap();
        framed(&bytes)
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    #[test]
    fn heads_are_read_as_the_protocol_writes_them() {
        let end = EndTxnRequest::default().with_transactional_id(id("t-1")).with_committed(true);
        let produce = ProduceRequest::default().with_transactional_id(Some(id("t-1")));
        let plain = ProduceRequest::default();
        let offsets = AddOffsetsToTxnRequest::default().with_transactional_id(id("t-1"));
        let commit = TxnOffsetCommitRequest::default().with_transactional_id(id("t-1"));
        let init = InitProducerIdRequest::default().with_transactional_id(Some(id("t-1")));
        for (frame, api, transactional_id) in [
            (request(ApiKey::EndTxn, 1, &end), Some(Api::EndTxn), Some("t-1")),
            (request(ApiKey::EndTxn, 3, &end), Some(Api::EndTxn), Some("t-1")),
            (request(ApiKey::Produce, 7, &produce), Some(Api::Produce), Some("t-1")),
            (request(ApiKey::Produce, 9, &produce), Some(Api::Produce), Some("t-1")),
            (request(ApiKey::Produce, 9, &plain), Some(Api::Produce), None),
            (request(ApiKey::Produce, 7, &plain), Some(Api::Produce), None),
            (request(ApiKey::AddOffsetsToTxn, 0, &offsets), Some(Api::AddOffsetsToTxn), Some("t-1")),
            (request(ApiKey::TxnOffsetCommit, 3, &commit), Some(Api::TxnOffsetCommit), Some("t-1")),
            (request(ApiKey::InitProducerId, 4, &init), Some(Api::InitProducerId), Some("t-1")),
            (request(ApiKey::OffsetCommit, 7, &OffsetCommitRequest::default()), Some(Api::OffsetCommit), None),
            (request(ApiKey::Metadata, 9, &MetadataRequest::default()), None, None),
        ] {
            let expected = RequestHead { api, correlation: 77, transactional_id: transactional_id.map(str::to_owned) };
            assert_eq!(RequestHead::read(&frame), Some(expected), "{frame:?}");
        }
        assert_eq!(RequestHead::read(&framed(b"short")), None);
    }

    #[test]
    fn what_is_not_kafka_is_refused() {
        for head in [-1, i32::MIN, i32::MAX] {
            let mut requests = Requests::default();
            requests.push(&head.to_be_bytes());
            assert_eq!(requests.next(), Err(NotKafka(head)));
        }
        for head in [-1, 0, 3] {
            let bytes = [i32::to_be_bytes(head), [0; 4]].concat();
            assert_eq!(Replies::default().push(&bytes), Err(NotKafka(head)));
        }
    }

    /// The stream, cut at these places.
    fn chunks<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn requests_come_whole_however_they_were_cut(bodies: Vec<Vec<u8>>, cuts: Vec<prop::sample::Index>) {
            let frames: Vec<Vec<u8>> = bodies.iter().map(|body| framed(body)).collect();
            let stream = frames.concat();
            let mut requests = Requests::default();
            let mut found = Vec::new();
            for chunk in chunks(&stream, &cuts) {
                requests.push(chunk);
                while let Some(frame) = requests.next().unwrap() {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!(requests.waiting(), 0);
        }

        #[test]
        fn replies_pass_to_the_byte_however_they_were_cut(replies: Vec<(i32, Vec<u8>)>, cuts: Vec<prop::sample::Index>) {
            let frames: Vec<Vec<u8>> = replies.iter().map(|(id, body)| framed(&[&id.to_be_bytes()[..], body].concat())).collect();
            let mut splitter = Replies::default();
            let (mut passed, mut begun, mut ended) = (Vec::new(), Vec::new(), 0);
            for chunk in chunks(&frames.concat(), &cuts) {
                for part in splitter.push(chunk).unwrap() {
                    match part {
                        Part::Begin { correlation, head } => {
                            begun.push(correlation);
                            passed.extend(head);
                        }
                        Part::Body(bytes) => passed.extend(bytes),
                        Part::End => ended += 1,
                    }
                }
            }
            prop_assert_eq!(passed, frames.concat());
            prop_assert_eq!(begun, replies.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            prop_assert_eq!(ended, replies.len());
        }
    }
}
