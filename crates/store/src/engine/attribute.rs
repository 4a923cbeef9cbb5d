//! `attributes['key']`, and `attribute(attributes, 'key')` for doors that know no subscripts.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, StringViewBuilder},
    datatypes::DataType,
};
use datafusion::{
    common::{DFSchema, ScalarValue, exec_err, plan_err},
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, ExprSchemable, GetFieldAccess, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility,
        planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr},
    },
    prelude::lit,
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
            Some(key) => {
                let function = ScalarUDF::from(Attribute::default());
                let name = format!("{}[{key}]", access.expr.schema_name());
                Ok(PlannerResult::Planned(function.call(vec![access.expr, lit(key)]).alias(name)))
            }
            None => Ok(PlannerResult::Original(access)),
        }
    }
}

fn literal(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}
