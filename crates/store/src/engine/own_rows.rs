//! Batches that are counted for what they hold.
//!
//! What sorts counts the memory of each batch that it keeps, with everything that batch shares with others. A sort gives its rows out as
//! slices of one large batch: a merge that keeps four of them counts all rows four times, and fails in the middle of its answer with most
//! of its memory free.

use std::{fmt, sync::Arc};

use arrow::record_batch::RecordBatch;
use datafusion::{
    common::{
        internal_datafusion_err,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
        utils::memory::get_record_batch_memory_size,
    },
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        execution_plan::replace_children_if_necessary,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

use super::compact::{bytes, compact};

/// Batches below this are not looked at.
const SMALL: usize = 64 << 10;

/// Gives everything that sorts or merges batches of their own.
pub(super) fn before_sorts(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|node| {
        if !node.is::<SortExec>() && !node.is::<SortPreservingMergeExec>() {
            return Ok(Transformed::no(node));
        }
        let children = node.children().into_iter().map(|child| OwnRowsExec::over(Arc::clone(child)));
        let children = children.collect();
        replace_children_if_necessary(node, children).map(Transformed::yes)
    });
    Ok(changed?.data)
}

/// Copies the rows of a batch that keeps much more memory than they have.
#[derive(Debug)]
struct OwnRowsExec {
    input: Arc<dyn ExecutionPlan>,
}

impl OwnRowsExec {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input })
    }
}

impl DisplayAs for OwnRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnRowsExec")
    }
}

impl ExecutionPlan for OwnRowsExec {
    fn name(&self) -> &str {
        "OwnRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| internal_datafusion_err!("a plan without its input"))?;
        Ok(Self::over(input))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let own = input.map(|batch| own_rows(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, own)))
    }
}

fn own_rows(batch: RecordBatch) -> Result<RecordBatch> {
    let kept = get_record_batch_memory_size(&batch);
    let own = bytes(&batch);
    if kept < SMALL || kept / 3 * 2 <= own {
        return Ok(batch);
    }
    Ok(compact(&batch)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn slices_are_counted_for_their_own_rows() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..80_000));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(
            (0..80_000).map(|row| format!("a line that is longer than a view, {row}")),
        ));
        let nested = arrow::array::StructArray::from(vec![(
            Arc::new(arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Int64, true)),
            Arc::clone(&numbers),
        )]);
        let nested: ArrayRef = Arc::new(nested);
        let columns = [("number", numbers), ("text", texts), ("nested", nested)];
        let whole = RecordBatch::try_from_iter(columns).unwrap();
        let size = get_record_batch_memory_size(&whole);

        let slices: Vec<_> = (0..10).map(|n| whole.slice(n * 8_000, 8_000)).collect();
        let own: Vec<_> = slices.iter().map(|slice| own_rows(slice.clone()).unwrap()).collect();
        assert_eq!(own, slices);
        let counted: usize = own.iter().map(get_record_batch_memory_size).sum();
        assert!(counted < size + size / 4, "{counted} bytes are counted, of {size}");
        assert_eq!(get_record_batch_memory_size(&own_rows(whole).unwrap()), size, "it shares nothing");
    }
}
