//! `attributes['key']`, `attributes.key` and `attributes ->> 'key'`, and `attribute(attributes, 'key')` for doors that know none of these.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, StringViewBuilder},
    datatypes::{DataType, Field},
};
use datafusion::{
    common::{Column, DFSchema, ScalarValue, TableReference, exec_err, plan_err},
    error::Result,
    logical_expr::{
        Between, BinaryExpr, ColumnarValue, Expr, ExprSchemable, GetFieldAccess, Like, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::InList,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr},
    },
    prelude::lit,
    sql::sqlparser::ast::BinaryOperator,
};

/// The value of a key in a map of strings; null when it is not there.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Attribute {
    signature: Signature,
}

impl Default for Attribute {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Attribute {
    fn name(&self) -> &str {
        "attribute"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Map(..), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8] => {
                Ok(DataType::Utf8View)
            }
            other => plan_err!(
                "attribute takes a map and a key, such as attribute(attributes, 'k'), not {other:?}"
            ),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [map, ColumnarValue::Scalar(key)] = &arguments.args[..] else {
            return exec_err!("attribute takes a literal key");
        };
        let map = map.to_array(arguments.number_rows)?;
        let Some(map) = map.as_map_opt() else { return exec_err!("attribute takes a map") };
        let key = key.try_as_str().flatten().unwrap_or_default();
        let (Some(keys), Some(values)) = (map.keys().as_string_view_opt(), map.values().as_string_view_opt())
        else {
            return exec_err!("attribute takes a map of strings");
        };
        let mut found = StringViewBuilder::with_capacity(map.len());
        for (row, range) in map.value_offsets().windows(2).enumerate() {
            let mut range = range[0] as usize..range[1] as usize;
            let place = if map.is_null(row) { None } else { range.find(|place| keys.value(*place) == key) };
            found.append_option(
                place.filter(|place| values.is_valid(*place)).map(|place| values.value(place)),
            );
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }
}

/// Plans a subscript of a map as a call of [`Attribute`]: the engine's own compares strings of two layouts, and fails.
#[derive(Debug)]
pub(super) struct MapSubscript;

impl ExprPlanner for MapSubscript {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let is_map = matches!(access.expr.get_type(schema)?, DataType::Map(..));
        let key = match &access.field_access {
            GetFieldAccess::NamedStructField { name } => name.try_as_str().flatten().map(str::to_owned),
            GetFieldAccess::ListIndex { key } => match key.as_ref() {
                Expr::Literal(value, _) => literal(value),
                _ => None,
            },
            GetFieldAccess::ListRange { .. } => None,
        };
        match key.filter(|_| is_map) {
            Some(key) => Ok(PlannerResult::Planned(value_of(access.expr, key))),
            None => Ok(PlannerResult::Original(access)),
        }
    }

    /// `attributes.http.status` is the key `http.status`.
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        if !matches!(field.data_type(), DataType::Map(..)) {
            return Ok(PlannerResult::Original(Vec::new()));
        }
        let map = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        Ok(PlannerResult::Planned(value_of(map, nested_names.join("."))))
    }

    /// As PostgreSQL reads a value of JSON.
    fn plan_binary_op(
        &self,
        binary: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_arrow = matches!(binary.op, BinaryOperator::Arrow | BinaryOperator::LongArrow);
        if !is_arrow || !matches!(binary.left.get_type(schema)?, DataType::Map(..)) {
            return Ok(PlannerResult::Original(binary));
        }
        match rebound(&binary.left, &binary.right) {
            Some(planned) => Ok(PlannerResult::Planned(planned)),
            None => Ok(PlannerResult::Original(binary)),
        }
    }
}

/// `map ->> right`. The parser binds the arrow weaker than comparisons, so `map ->> 'key' = 'v'` comes as
/// `map ->> ('key' = 'v')`: the arrow goes to the key, as PostgreSQL reads it.
fn rebound(map: &Expr, right: &Expr) -> Option<Expr> {
    let inner = |expr: &Expr| rebound(map, expr).map(Box::new);
    Some(match right.clone() {
        Expr::Literal(value, _) => value_of(map.clone(), literal(&value)?),
        Expr::BinaryExpr(binary) => Expr::BinaryExpr(BinaryExpr { left: inner(&binary.left)?, ..binary }),
        Expr::Like(like) => Expr::Like(Like { expr: inner(&like.expr)?, ..like }),
        Expr::InList(list) => Expr::InList(InList { expr: inner(&list.expr)?, ..list }),
        Expr::Between(between) => Expr::Between(Between { expr: inner(&between.expr)?, ..between }),
        Expr::IsNull(expr) => Expr::IsNull(inner(&expr)?),
        Expr::IsNotNull(expr) => Expr::IsNotNull(inner(&expr)?),
        _ => return None,
    })
}

fn value_of(map: Expr, key: String) -> Expr {
    let name = format!("{}[{key}]", map.schema_name());
    ScalarUDF::from(Attribute::default()).call(vec![map, lit(key)]).alias(name)
}

fn literal(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}
