//! The headers of one record of a batch (the message format's version 2), where the batch is not compressed, or with LZ4.

use std::io::Read;

use bytes::{Buf, Bytes};
use lz4_flex::frame::FrameDecoder;

use crate::record::Header;

/// The part of a batch's attributes that says how it is compressed.
const COMPRESSION: i16 = 7;
const NONE: i16 = 0;
const LZ4: i16 = 3;
/// How much of a batch is decompressed.
const BYTES: u64 = 1 << 20;

/// The headers of the first record that is at least so many offsets behind the first one of its batch; none: they cannot be read, or not
/// all of them is there.
pub(super) fn headers(attributes: i16, records: &[u8], behind: i64) -> Option<Vec<Header>> {
    match attributes & COMPRESSION {
        NONE => find(records, behind),
        LZ4 => find(&decompressed(records), behind),
        _ => None,
    }
}

/// As many of the first blocks as are there as a whole.
fn decompressed(records: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    // What was read before it breaks off stays.
    let _ = FrameDecoder::new(records).take(BYTES).read_to_end(&mut found);
    found
}

fn find(mut records: &[u8], behind: i64) -> Option<Vec<Header>> {
    loop {
        let length = usize::try_from(number(&mut records)?).ok()?;
        let (mut record, rest) = records.split_at_checked(length).unwrap_or((records, &[]));
        let _attributes = record.try_get_u8().ok()?;
        let _timestamp = number(&mut record)?;
        if number(&mut record)? >= behind {
            return read(record);
        }
        records = rest;
    }
}

/// What follows a record's offset.
fn read(mut record: &[u8]) -> Option<Vec<Header>> {
    let (_key, _value) = (field(&mut record)?, field(&mut record)?);
    let count = number(&mut record)?;
    let header = |_| {
        let name = String::from_utf8_lossy(field(&mut record)??).into_owned();
        Some(Header { name, value: field(&mut record)?.map(Bytes::copy_from_slice) })
    };
    (0..count).map(header).collect()
}

/// Bytes behind their length; none of them where that is below zero.
fn field<'a>(record: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = number(record)?;
    let Ok(length) = usize::try_from(length) else { return Some(None) };
    let (field, rest) = record.split_at_checked(length)?;
    *record = rest;
    Some(Some(field))
}

/// A number of as many bytes as it takes.
fn number(bytes: &mut &[u8]) -> Option<i64> {
    let mut all = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        all |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((all >> 1).cast_signed() ^ -(all & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: i64) -> Vec<u8> {
        let mut left = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
        let mut bytes = vec![];
        while left > 0x7f {
            bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        bytes.push(u8::try_from(left).unwrap());
        bytes
    }

    fn field_of(bytes: Option<&[u8]>) -> Vec<u8> {
        bytes.map_or_else(|| written(-1), |bytes| [&written(i64::try_from(bytes.len()).unwrap()), bytes].concat())
    }

    fn record(behind: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&str>)]) -> Vec<u8> {
        let head = [vec![0], written(-3), written(behind), field_of(key), field_of(value), written(i64::try_from(headers.len()).unwrap())];
        let headers = headers.iter().flat_map(|(name, value)| [field_of(Some(name.as_bytes())), field_of(value.map(str::as_bytes))]);
        let body: Vec<u8> = head.into_iter().chain(headers).flatten().collect();
        [written(i64::try_from(body.len()).unwrap()), body].concat()
    }

    fn told(found: Option<Vec<Header>>) -> Option<Vec<(String, Option<String>)>> {
        let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
        found.map(|headers| headers.into_iter().map(|header| (header.name, header.value.map(text))).collect())
    }

    #[test]
    fn the_headers_of_the_first_record_that_waits() {
        let all = [
            record(0, Some(b"k"), Some(&[7; 300]), &[("a", Some("1")), ("b", None)]),
            record(1, None, None, &[]),
            record(4, None, Some(b""), &[("c", Some(""))]),
        ]
        .concat();
        let of = |headers: &[(&str, Option<&str>)]| {
            Some(headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect::<Vec<_>>())
        };
        for (behind, expected) in [
            (0, of(&[("a", Some("1")), ("b", None)])),
            (1, of(&[])),
            // Those between were compacted away.
            (2, of(&[("c", Some(""))])),
            (4, of(&[("c", Some(""))])),
            (5, None),
        ] {
            assert_eq!(told(headers(0, &all, behind)), expected, "{behind}");
        }
        let gzip = 1;
        assert_eq!(headers(gzip, &all, 0), None);
        for length in 0..310 {
            assert_eq!(headers(0, &all[..length], 0), None, "the first {length} bytes");
        }
    }

    /// As `lz4 -B4 --no-frame-crc` compresses two records that wait for a retry.
    #[test]
    fn a_compressed_batch_is_read() {
        let frame =
            b"\x04\x22\x4d\x18\x60\x40\x82\x74\x00\x00\x00\xfb\x15\xe4\x01\x00\x00\x00\x02\x6b\x5a{\"n\": 1, \"text\": \"again and \
            \x0a\x00\xfb\x0f\"}\x06\x2epenstock-retry-attempts\x02\x31\x32\x1a\x00\xff\x0cnot-before\x08\x31\x30\x30\x30\x06own\x01\x88\
            \x01\x00\x00\x02\x01\x01\x46\x00\x23\x90\x32\x30\x30\x30\x06own\x01\x00\x00\x00\x00";
        for (behind, not_before) in [(0, "1000"), (1, "2000")] {
            let found = told(headers(LZ4 | 16, frame, behind)).unwrap();
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["penstock-retry-attempts", "penstock-retry-not-before", "own"]);
            assert_eq!(found[1].1.as_deref(), Some(not_before));
        }
        assert_eq!(headers(LZ4, &frame[..60], 0), None, "cut off within a block");
        assert_eq!(headers(LZ4, b"something else", 0), None);
    }

    #[test]
    fn numbers_are_as_long_as_they_need_be() {
        for expected in [0, -1, 1, 63, 64, -64, -65, 300, i64::MAX, i64::MIN] {
            assert_eq!(number(&mut written(expected).as_slice()), Some(expected));
        }
        assert_eq!(number(&mut &[0xff; 20][..]), None);
    }
}
