//! Dispatchers.

use super::bench::Bench;
use crate::plugin::limits::Limits;
use crate::plugin::link::Role;

#[tokio::test]
async fn a_dispatcher_goes_on_where_its_cursor_says() {
    let bench = Bench::new();
    let count = bench.load("dispatch-cursor", Limits::default());
    assert_eq!(count.roles(), [Role::Dispatcher]);
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let batch = count.dispatch(10, cursor).await.unwrap();
        assert_eq!(batch.tasks.len(), 1);
        assert_eq!((&*batch.tasks[0].kind, &*batch.tasks[0].input), ("ok", "{}"));
        seen.push(batch.cursor.clone().unwrap());
        cursor = batch.cursor;
        if !batch.more {
            break;
        }
    }
    assert_eq!(seen, [[1], [2], [3]]);
}

#[tokio::test]
async fn more_tasks_than_asked_for_break_the_contract() {
    let bench = Bench::new();
    let many = bench.load("dispatch-too-many", Limits::default());
    let failure = many.dispatch(10, None).await.unwrap_err();
    assert_eq!(failure.code, "contract-violation");
    assert_eq!(failure.message, "the dispatcher returned 11 tasks, asked for 10");
}

#[tokio::test]
async fn an_executor_does_not_dispatch() {
    let bench = Bench::new();
    let failure = bench.load("ok", Limits::default()).dispatch(10, None).await.unwrap_err();
    assert!(failure.message.contains("not a dispatcher"), "{failure:?}");
}
