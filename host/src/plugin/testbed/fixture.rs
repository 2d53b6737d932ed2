//! Tiny plugins written as component text: what they answer lies in their memory before they start.

use std::fmt::Write as _;

/// A kind that a fixture describes.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Offer {
    /// Its name.
    pub(in crate::plugin) kind: &'static str,
    /// JSON Schema text of the input.
    pub(in crate::plugin) schema: Option<&'static str>,
}

/// What a plugin is made of.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Fixture {
    /// Its version: also the output of every task, as a JSON string.
    pub(in crate::plugin) version: &'static str,
    /// The kinds that it executes.
    pub(in crate::plugin) offers: Vec<Offer>,
    /// It dispatches these `(kind, input)`.
    pub(in crate::plugin) batch: Option<Vec<(&'static str, &'static str)>>,
    /// Each task waits until the host wants something of it.
    pub(in crate::plugin) waits: bool,
    /// It asks for plugin state.
    pub(in crate::plugin) wants_state: bool,
}

impl Fixture {
    /// An executor of one kind.
    pub(in crate::plugin) fn executor(version: &'static str, kind: &'static str) -> Self {
        let offers = vec![Offer { kind, schema: None }];
        Self { version, offers, batch: None, waits: false, wants_state: false }
    }

    /// The component, in binary.
    pub(in crate::plugin) fn build(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    fn text(&self) -> String {
        let mut data = Data { bytes: Vec::new() };
        let describe = self.descriptor(&mut data);
        // `ok` of `validate-config`.
        let validate = data.put(&[0; 12], 4);
        let output = data.text(&format!("{:?}", self.version));
        let execute = data.put(&words(&[0, 0, output[0], output[1]]), 8);
        let batch = self.batch(&mut data);
        let mut escaped = String::new();
        for byte in &data.bytes {
            write!(escaped, "\\{byte:02x}").unwrap();
        }
        let heap = BASE + data.bytes.len() + 64;
        let (wait_import, wait, instance) = if self.waits { WAIT } else { ("", "", "(instantiate $m)") };
        let parts = [
            "(component",
            if self.waits { WAIT_LOWERED } else { "" },
            if self.wants_state { STATE } else { "" },
            &format!(
                r#"(core module $m {wait_import}
                    (memory (export "memory") 2)
                    (data (i32.const {BASE}) "{escaped}")
                    (global $heap (mut i32) (i32.const {heap}))
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                        (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -8)))
                        (global.get $heap)
                        (global.set $heap (i32.add (global.get $heap) (local.get 3))))
                    (func (export "describe") (result i32) (i32.const {describe}))
                    (func (export "validate") (param i32 i32) (result i32) (i32.const {validate}))
                    (func (export "execute")
                        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i64 i32 i32) (result i32)
                        {wait} (i32.const {execute}))
                    (func (export "dispatch") (param i32 i32 i32 i32) (result i32) (i32.const {batch})))
                (core instance $i {instance})"#,
            ),
            METADATA,
            if self.offers.is_empty() { "" } else { EXECUTOR },
            if self.batch.is_none() { "" } else { DISPATCHER },
            ")",
        ];
        parts.join("\n")
    }

    fn descriptor(&self, data: &mut Data) -> usize {
        let mut kinds = Vec::new();
        for offer in &self.offers {
            let name = data.text(offer.kind);
            let schema = offer.schema.map(|schema| data.text(schema));
            let (some, schema) = (usize::from(schema.is_some()), schema.unwrap_or_default());
            kinds.extend([name[0], name[1], 0, 0, some, schema[0], schema[1], 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let kinds_at = data.put(&words(&kinds), 8);
        let [name, version] = [data.text("fixture"), data.text(self.version)];
        let words = words(&[name[0], name[1], version[0], version[1], 0, 0, kinds_at, self.offers.len(), 0, 0]);
        data.put(&words, 8)
    }

    fn batch(&self, data: &mut Data) -> usize {
        let mut tasks = Vec::new();
        let batch = self.batch.as_deref().unwrap_or_default();
        for (kind, input) in batch {
            let [kind, input] = [data.text(kind), data.text(input)];
            let mut task = [0; NEW_TASK_WORDS];
            task[..4].copy_from_slice(&[kind[0], kind[1], input[0], input[1]]);
            tasks.extend(task);
        }
        let tasks_at = data.put(&words(&tasks), 8);
        data.put(&words(&[0, tasks_at, batch.len(), 0, 0, 0, 0]), 8)
    }
}

/// How long a `new-task` is; all of its options are absent when they are zero.
const NEW_TASK_WORDS: usize = 52;

/// Where the data begins.
const BASE: usize = 1024;

struct Data {
    bytes: Vec<u8>,
}

impl Data {
    fn put(&mut self, bytes: &[u8], align: usize) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
        let at = BASE + self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Address and length.
    fn text(&mut self, text: &str) -> [usize; 2] {
        [self.put(text.as_bytes(), 1), text.len()]
    }
}

fn words(words: &[usize]) -> Vec<u8> {
    words.iter().flat_map(|word| u32::try_from(*word).unwrap().to_le_bytes()).collect()
}

/// The import of the core module, the call, and the instance that gets the import.
const WAIT: (&str, &str, &str) = (
    r#"(import "host" "sleep" (func $sleep (param i64) (result i32)))"#,
    "(drop (call $sleep (i64.const 60000)))",
    r#"(instantiate $m (with "host" (instance (export "sleep" (func $sleep)))))"#,
);

const WAIT_LOWERED: &str = r#"
    (import "taskhost:host/context@0.1.0" (instance $context
        (type $directive' (enum "proceed" "cancel" "yield"))
        (export "directive" (type $directive (eq $directive')))
        (export "sleep" (func (param "duration" u64) (result $directive)))))
    (core func $sleep (canon lower (func $context "sleep")))"#;

const STATE: &str = r#"
    (import "taskhost:host/state@0.1.0" (instance $state
        (type $error' (variant
            (case "denied" string) (case "too-large" u64) (case "quota-exceeded" u64)
            (case "invalid-key" string) (case "unavailable" string) (case "other" string)))
        (export "error" (type $error (eq $error')))
        (export "delete" (func (param "key" string) (result (result bool (error $error)))))))"#;

const METADATA: &str = r#"
    (type $failure (record (field "code" string) (field "message" string) (field "details" (option string))))
    (type $kind (record
        (field "name" string) (field "summary" string)
        (field "input-schema" (option string)) (field "output-schema" (option string))
        (field "default-timeout" (option u64)) (field "attributes" (list (tuple string string)))))
    (type $descriptor (record
        (field "name" string) (field "version" string) (field "summary" string)
        (field "kinds" (list $kind)) (field "attributes" (list (tuple string string)))))
    (func $describe (result $descriptor) (canon lift (core func $i "describe") (memory (core memory $i "memory"))))
    (func $validate (param "config" (list (tuple string string))) (result (result (error (list $failure))))
        (canon lift (core func $i "validate") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (component $metadata
        (type $failure' (record (field "code" string) (field "message" string) (field "details" (option string))))
        (import "type-failure" (type $failure (eq $failure')))
        (type $kind' (record
            (field "name" string) (field "summary" string)
            (field "input-schema" (option string)) (field "output-schema" (option string))
            (field "default-timeout" (option u64)) (field "attributes" (list (tuple string string)))))
        (import "type-kind" (type $kind (eq $kind')))
        (type $descriptor' (record
            (field "name" string) (field "version" string) (field "summary" string)
            (field "kinds" (list $kind)) (field "attributes" (list (tuple string string)))))
        (import "type-descriptor" (type $descriptor (eq $descriptor')))
        (import "describe" (func $describe (result $descriptor)))
        (import "validate-config" (func $validate
            (param "config" (list (tuple string string))) (result (result (error (list $failure))))))
        (export $failure2 "failure" (type $failure'))
        (export $kind2 "kind" (type $kind'))
        (type $descriptor2' (record
            (field "name" string) (field "version" string) (field "summary" string)
            (field "kinds" (list $kind2)) (field "attributes" (list (tuple string string)))))
        (export $descriptor2 "descriptor" (type $descriptor2'))
        (export "describe" (func $describe) (func (result $descriptor2)))
        (export "validate-config" (func $validate)
            (func (param "config" (list (tuple string string))) (result (result (error (list $failure2)))))))
    (instance $metadata (instantiate $metadata
        (with "type-failure" (type $failure)) (with "type-kind" (type $kind))
        (with "type-descriptor" (type $descriptor))
        (with "describe" (func $describe)) (with "validate-config" (func $validate))))
    (export "taskhost:plugin/metadata@0.1.0" (instance $metadata))"#;

const EXECUTOR: &str = r#"
    (type $task (record
        (field "id" string) (field "kind" string) (field "input" string) (field "attempt" u32)
        (field "max-attempts" u32) (field "idempotency-key" string) (field "created-at" u64)
        (field "deadline" (option u64)) (field "attributes" (list (tuple string string)))))
    (type $retry (record (field "cause" $failure) (field "after" (option u64))))
    (type $task-error (variant
        (case "retry" $retry) (case "fatal" $failure) (case "invalid-input" $failure)
        (case "cancelled") (case "yielded") (case "snoozed" u64) (case "other" $failure)))
    (func $execute (param "task" $task) (result (result string (error $task-error)))
        (canon lift (core func $i "execute") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (component $executor
        (type $failure' (record (field "code" string) (field "message" string) (field "details" (option string))))
        (import "type-failure" (type $failure (eq $failure')))
        (type $task' (record
            (field "id" string) (field "kind" string) (field "input" string) (field "attempt" u32)
            (field "max-attempts" u32) (field "idempotency-key" string) (field "created-at" u64)
            (field "deadline" (option u64)) (field "attributes" (list (tuple string string)))))
        (import "type-task" (type $task (eq $task')))
        (type $retry' (record (field "cause" $failure) (field "after" (option u64))))
        (import "type-retry" (type $retry (eq $retry')))
        (type $task-error' (variant
            (case "retry" $retry) (case "fatal" $failure) (case "invalid-input" $failure)
            (case "cancelled") (case "yielded") (case "snoozed" u64) (case "other" $failure)))
        (import "type-task-error" (type $task-error (eq $task-error')))
        (import "execute" (func $execute (param "task" $task) (result (result string (error $task-error)))))
        (export $failure2 "failure" (type $failure'))
        (export $task2 "task" (type $task'))
        (type $retry2' (record (field "cause" $failure2) (field "after" (option u64))))
        (export $retry2 "retry-request" (type $retry2'))
        (type $task-error2' (variant
            (case "retry" $retry2) (case "fatal" $failure2) (case "invalid-input" $failure2)
            (case "cancelled") (case "yielded") (case "snoozed" u64) (case "other" $failure2)))
        (export $task-error2 "task-error" (type $task-error2'))
        (export "execute" (func $execute)
            (func (param "task" $task2) (result (result string (error $task-error2))))))
    (instance $executor (instantiate $executor
        (with "type-failure" (type $failure)) (with "type-task" (type $task)) (with "type-retry" (type $retry))
        (with "type-task-error" (type $task-error)) (with "execute" (func $execute))))
    (export "taskhost:plugin/executor@0.1.0" (instance $executor))"#;

const DISPATCHER: &str = r#"
    (type $growth' (enum "fixed" "exponential"))
    (export $growth "growth" (type $growth'))
    (type $jitter' (enum "none" "equal" "full"))
    (export $jitter "jitter" (type $jitter'))
    (type $backoff' (record (field "growth" $growth) (field "jitter" $jitter) (field "base" u64) (field "cap" u64)))
    (export $backoff "backoff" (type $backoff'))
    (type $unique-by' (variant (case "key" string) (case "paths" (list string))))
    (export $unique-by "unique-by" (type $unique-by'))
    (type $unique-mode' (variant
      (case "existing") (case "reject") (case "replace") (case "debounce" u64) (case "throttle" u64)
      (case "keep-last-if-active")))
    (export $unique-mode "unique-mode" (type $unique-mode'))
    (type $task-states' (flags "queued" "running" "succeeded" "failed" "cancelled"))
    (export $task-states "task-states" (type $task-states'))
    (type $unique' (record
      (field "by" $unique-by) (field "mode" $unique-mode) (field "states" (option $task-states))))
    (export $unique "unique" (type $unique'))
    (type $new-task' (record
      (field "kind" string) (field "input" string) (field "unique-key" (option string))
      (field "priority" (option u8)) (field "run-at" (option u64)) (field "attributes" (list (tuple string string)))
      (field "queue" (option string)) (field "delay" (option u64)) (field "deadline" (option u64))
      (field "timeout" (option u64)) (field "max-attempts" (option u32)) (field "backoff" (option $backoff))
      (field "unique" (option $unique))))
    (export $new-task "new-task" (type $new-task'))
    (type $batch' (record (field "tasks" (list $new-task)) (field "cursor" (option (list u8))) (field "more" bool)))
    (export $batch "batch" (type $batch'))
    (type $of-dispatch' (record (field "code" string) (field "message" string) (field "details" (option string))))
    (export $of-dispatch "failure" (type $of-dispatch'))
    (func $dispatch (param "limit" u32) (param "cursor" (option (list u8))) (result (result $batch (error $of-dispatch)))
      (canon lift (core func $i "dispatch") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (instance $dispatcher (export "dispatch" (func $dispatch)))
    (export "taskhost:plugin/dispatcher@0.1.0" (instance $dispatcher))"#;
