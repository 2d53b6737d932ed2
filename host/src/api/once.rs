//! What a request may give once.

/// Takes what stands under `name`, in a body or in a query. What stands there twice is a mistake: the text says so.
pub(super) fn take<V>(left: &mut Vec<(String, V)>, name: &str) -> (Option<V>, Option<&'static str>) {
    let mut values: Vec<_> = left.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect();
    let wrong = (values.len() > 1).then_some("is given more than once");
    (values.pop(), wrong)
}
