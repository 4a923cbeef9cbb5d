//! `severity = 'ERROR'`: the words of OpenTelemetry's severity numbers.

use arrow::datatypes::DataType;
use datafusion::{
    common::DFSchema,
    error::Result,
    logical_expr::{
        Expr, ExprSchemable,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
    prelude::lit,
    sql::sqlparser::ast::BinaryOperator,
};

/// Each word stands for four numbers.
const WIDTH: i16 = 4;

/// The least of the numbers that a word stands for.
fn least(word: &str) -> Option<i16> {
    match word.to_ascii_lowercase().as_str() {
        "trace" => Some(1),
        "debug" => Some(5),
        "info" => Some(9),
        "warn" | "warning" => Some(13),
        "error" | "err" => Some(17),
        "fatal" | "critical" => Some(21),
        _ => None,
    }
}

/// Plans a comparison of `severity` with a word as one with its numbers.
#[derive(Debug)]
pub(super) struct SeverityWords;

impl ExprPlanner for SeverityWords {
    fn plan_binary_op(
        &self,
        binary: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let named = match &binary.left {
            Expr::Column(column) if column.name == "severity" => {
                binary.left.get_type(schema)? == DataType::Int16
            }
            _ => false,
        };
        let first = match &binary.right {
            Expr::Literal(value, _) if named => value.try_as_str().flatten().and_then(least),
            _ => None,
        };
        let Some(first) = first else { return Ok(PlannerResult::Original(binary)) };

        let last = first + WIDTH - 1;
        let severity = binary.left.clone();
        Ok(match binary.op {
            BinaryOperator::Eq => PlannerResult::Planned(severity.between(lit(first), lit(last))),
            BinaryOperator::NotEq => PlannerResult::Planned(severity.not_between(lit(first), lit(last))),
            BinaryOperator::Gt => PlannerResult::Planned(severity.gt(lit(last))),
            BinaryOperator::GtEq => PlannerResult::Planned(severity.gt_eq(lit(first))),
            BinaryOperator::Lt => PlannerResult::Planned(severity.lt(lit(first))),
            BinaryOperator::LtEq => PlannerResult::Planned(severity.lt_eq(lit(last))),
            _ => PlannerResult::Original(binary),
        })
    }
}
