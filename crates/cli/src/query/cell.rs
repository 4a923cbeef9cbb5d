//! The columns of an answer, and a row's values as JSON.

use lapwing::v1::SqlColumn;
use prost_types::{Value, value};
use serde::{Serialize, Serializer};
use serde_json::{Number, Value as Json};

/// Whole numbers up to here are exact in the doubles that protobuf carries.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a column holds, as far as it matters for printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole numbers.
    Integer,
    /// Other numbers.
    Number,
    /// Points or spans of time.
    Time,
    /// Anything else.
    Text,
}

impl Kind {
    /// By the name of an Arrow type.
    fn of(arrow: &str) -> Self {
        let starts = |names: &[&str]| names.iter().any(|name| arrow.starts_with(name));
        match arrow {
            _ if starts(&["Int", "UInt"]) && !arrow.starts_with("Interval") => Self::Integer,
            _ if starts(&["Float", "Decimal"]) => Self::Number,
            _ if starts(&["Timestamp", "Date", "Time", "Duration", "Interval"]) => Self::Time,
            _ => Self::Text,
        }
    }
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name; no two columns of an answer share one.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) kind: Kind,
}

impl Column {
    /// The columns of an answer. In SQL two may share a name, in an object they can't: the second `x` is `x_2`.
    pub(crate) fn all(columns: &[SqlColumn]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::with_capacity(columns.len());
        for SqlColumn { name, r#type } in columns {
            let taken = |candidate: &str| all.iter().any(|column| column.name == candidate);
            let numbered = (2..).map(|n| format!("{name}_{n}"));
            let name = std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name));
            all.push(Self { name: name.unwrap_or_default(), kind: Kind::of(r#type) });
        }
        all
    }

    /// A value of this column.
    pub(crate) fn json(&self, value: Value) -> Json {
        match (self.kind, json(value)) {
            // Numbers too large for a double travel as text.
            (Kind::Integer, Json::String(digits)) => integer(&digits).unwrap_or(Json::String(digits)),
            (Kind::Number, Json::Number(number)) => {
                number.as_f64().and_then(Number::from_f64).map_or(Json::Null, Json::Number)
            }
            (_, other) => other,
        }
    }
}

fn integer(digits: &str) -> Option<Json> {
    digits.parse::<i64>().map(Json::from).or_else(|_| digits.parse::<u64>().map(Json::from)).ok()
}

fn json(value: Value) -> Json {
    match value.kind {
        None | Some(value::Kind::NullValue(_)) => Json::Null,
        Some(value::Kind::BoolValue(value)) => value.into(),
        Some(value::Kind::NumberValue(number)) => whole(number).unwrap_or_else(|| number.into()),
        Some(value::Kind::StringValue(text)) => text.into(),
        Some(value::Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(value::Kind::StructValue(fields)) => {
            Json::Object(fields.fields.into_iter().map(|(name, value)| (name, json(value))).collect())
        }
    }
}

fn whole(number: f64) -> Option<Json> {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and far within the range of i64")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then(|| (number as i64).into())
}

/// A value as plain text; `None` for NULL.
pub(crate) fn text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A row as an object whose keys stand in the order of the columns.
pub(crate) struct Object<'a>(pub(crate) &'a [Column], pub(crate) &'a [Json]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|column| &column.name).zip(self.1))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Columns from `("name", "Type")`.
    pub(crate) fn columns(columns: &[(&str, &str)]) -> Vec<SqlColumn> {
        let column = |(name, kind): &(&str, &str)| SqlColumn { name: (*name).into(), r#type: (*kind).into() };
        columns.iter().map(column).collect()
    }

    #[test]
    fn types_are_told_apart_by_their_arrow_names() {
        let kinds = [
            ("Int64", Kind::Integer),
            ("UInt8", Kind::Integer),
            ("Interval(DayTime)", Kind::Time),
            ("Float64", Kind::Number),
            ("Decimal128(38, 10)", Kind::Number),
            ("Timestamp(ns)", Kind::Time),
            ("Timestamp(Nanosecond, None)", Kind::Time),
            ("Utf8View", Kind::Text),
            ("Map(\"entries\": Struct(...))", Kind::Text),
        ];
        for (arrow, kind) in kinds {
            assert_eq!(Kind::of(arrow), kind, "{arrow}");
        }
    }

    #[test]
    fn numbers_are_as_exact_as_they_came() {
        let columns = Column::all(&columns(&[("i", "Int64"), ("f", "Float64")]));
        let (int, float) = (&columns[0], &columns[1]);
        assert_eq!(int.json(Value::from(3.0)).to_string(), "3");
        assert_eq!(
            int.json(Value::from("9223372036854775807".to_owned())).to_string(),
            "9223372036854775807"
        );
        assert_eq!(
            int.json(Value::from("18446744073709551615".to_owned())).to_string(),
            "18446744073709551615"
        );
        assert_eq!(float.json(Value::from(3.0)).to_string(), "3.0");
        assert_eq!(float.json(Value::from(0.1)).to_string(), "0.1");
        assert_eq!(float.json(Value::from(f64::NAN)), Json::Null);
    }

    #[test]
    fn columns_that_share_a_name_are_numbered() {
        let same = [("x", "Int64"), ("x", "Int64"), ("x_2", "Int64"), ("x", "Int64")];
        let names: Vec<_> = Column::all(&columns(&same)).into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["x", "x_2", "x_2_2", "x_3"]);
    }
}
