//! What stands in a column: each type knows how one value is written after the one before it.

use bytes::Bytes;

use super::{DecodeError, metrics::MAX_BOUNDS, reader::Reader};
use crate::v1::Histogram;

/// A run of UTF-8, sliced from the batch it came in.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

/// Attributes of a row, sorted by key, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes(Vec<(Text, Text)>);

/// A type that can stand in a column. `Default` is what a column that was left out holds.
pub(super) trait Value: Default + Clone + PartialEq {
    /// Appends the value; `previous` is the one before it in the column, the default at its start.
    fn write(&self, previous: &Self, out: &mut Vec<u8>);
    /// Reads what `write` wrote. Takes at least one byte.
    fn read(previous: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

impl Text {
    /// The text as a string slice.
    pub fn as_str(&self) -> &str {
        // Checked when it was made; checked again because that is cheap and needs no unsafe code.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes, without a copy.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text that the program holds anyway.
    pub fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// A text as a part of the bytes that it lies in; a copy when it lies elsewhere.
    pub fn within(bytes: &Bytes, text: &str) -> Self {
        let start = (text.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize);
        let part = start.and_then(|start| Some(start..start.checked_add(text.len())?));
        match part.filter(|part| part.end <= bytes.len()) {
            Some(part) => Self(bytes.slice(part)),
            None => text.into(),
        }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<Bytes> for Text {
    type Error = std::str::Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }
}

impl Attributes {
    /// The pairs, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        Some(self.0[place].1.as_str())
    }

    /// These attributes and others beside them. A key that is here already keeps its value, and of others with the same key
    /// the first one stays.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = (Text, Text)>) -> Self {
        let others = others.into_iter();
        let mut pairs = Vec::with_capacity(self.len() + others.size_hint().0);
        pairs.extend_from_slice(&self.0);
        pairs.extend(others);
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        Self(pairs)
    }
}

impl<K: Into<Text>, V: Into<Text>> FromIterator<(K, V)> for Attributes {
    /// Sorts by key; of pairs with the same key the last one stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Text, Text)> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        Self(pairs)
    }
}

/// Appends `value` in LEB128.
pub(super) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Value for u64 {
    /// The difference to the value before, zigzag in LEB128: times and counters differ by little.
    fn write(&self, previous: &Self, out: &mut Vec<u8>) {
        let difference = self.wrapping_sub(*previous) as i64;
        write_varint(((difference << 1) ^ (difference >> 63)) as u64, out);
    }

    fn read(previous: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let zigzag = reader.varint("a number")?;
        Ok(previous.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()))
    }
}

impl Value for u8 {
    fn write(&self, _: &Self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(_: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.byte("a small number")
    }
}

impl Value for f64 {
    fn write(&self, _: &Self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(_: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.take(8, "a float")?;
        Ok(f64::from_le_bytes(bytes[..].try_into().unwrap_or_default()))
    }
}

impl Value for Text {
    fn write(&self, _: &Self, out: &mut Vec<u8>) {
        write_varint(self.0.len() as u64, out);
        out.extend_from_slice(&self.0);
    }

    fn read(_: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let limit = reader.limits().max_value_bytes;
        reader.text("a text", limit)
    }
}

impl Value for Attributes {
    fn write(&self, _: &Self, out: &mut Vec<u8>) {
        write_varint(self.0.len() as u64, out);
        for (key, value) in &self.0 {
            key.write(key, out);
            value.write(value, out);
        }
    }

    fn read(_: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let limits = reader.limits();
        let count = reader.size("the number of attributes")?;
        DecodeError::check("number of attributes", count, limits.max_attributes)?;
        let mut pairs: Vec<(Text, Text)> = Vec::with_capacity(count);
        for _ in 0..count {
            let key = reader.text("an attribute key", limits.max_key_bytes)?;
            let value = reader.text("an attribute value", limits.max_value_bytes)?;
            if pairs.last().is_some_and(|(last, _)| *last >= key) {
                return Err(DecodeError::invalid("attributes", "keys are not sorted, or one comes twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }
}

impl Value for Option<Histogram> {
    fn write(&self, _: &Self, out: &mut Vec<u8>) {
        let Some(histogram) = self else {
            out.push(0);
            return;
        };
        out.push(1);
        write_varint(histogram.count, out);
        out.extend_from_slice(&histogram.sum.to_le_bytes());
        write_varint(histogram.explicit_bounds.len() as u64, out);
        histogram.explicit_bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        write_varint(histogram.bucket_counts.len() as u64, out);
        histogram.bucket_counts.iter().for_each(|count| write_varint(*count, out));
    }

    fn read(_: &Self, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte("a histogram")? {
            0 => return Ok(None),
            1 => {}
            other => {
                return Err(DecodeError::invalid("histogram", format!("begins with {other}, not 0 or 1")));
            }
        }
        let count = reader.varint("a histogram's count")?;
        let sum = f64::read(&0.0, reader)?;
        let bounds = reader.size("a histogram's bounds")?;
        DecodeError::check("number of histogram bounds", bounds, MAX_BOUNDS)?;
        let explicit_bounds = (0..bounds).map(|_| f64::read(&0.0, reader)).collect::<Result<_, _>>()?;
        let buckets = reader.size("a histogram's buckets")?;
        DecodeError::check("number of histogram buckets", buckets, MAX_BOUNDS + 1)?;
        let bucket_counts =
            (0..buckets).map(|_| reader.varint("a bucket's count")).collect::<Result<_, _>>()?;
        Ok(Some(Histogram { count, sum, explicit_bounds, bucket_counts }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_part_of_the_bytes_it_lies_in_or_a_copy() {
        let bytes = Bytes::from_static("a line: gr\u{fc}n".as_bytes());
        let line = std::str::from_utf8(&bytes).unwrap();
        let part = Text::within(&bytes, &line[8..]);
        assert_eq!((part.as_str(), part.bytes().as_ptr()), ("gr\u{fc}n", line[8..].as_ptr()));
        for elsewhere in ["", "elsewhere", &"x".repeat(100)] {
            assert_eq!(Text::within(&bytes, elsewhere).as_str(), elsewhere);
        }
    }

    #[test]
    fn attributes_that_are_there_keep_their_values_when_others_come() {
        let own = Attributes::from_iter([("b", "own"), ("d", "own")]);
        let others = [("e", "1"), ("b", "new"), ("a", "1"), ("a", "2")];
        let wider = own.with(others.map(|(key, value)| (key.into(), value.into())));
        let expected = [("a", "1"), ("b", "own"), ("d", "own"), ("e", "1")];
        assert_eq!(wider, Attributes::from_iter(expected));
        assert_eq!(wider.get("b"), Some("own"));
    }
}
