//! The contract as Rust: generated, so it never differs from `wit/`.
//!
//! Imports are generated once, and each exported interface in a world of its own. A component therefore exports
//! exactly the roles that its `export!` names, and imports only what it calls: the rest is dropped when it is linked.

/// What the host lends.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package taskhost:sdk;
            world imports {
                import taskhost:task/types@0.1.0;
                import taskhost:host/log@0.1.0;
                import taskhost:host/config@0.1.0;
                import taskhost:host/context@0.1.0;
                import taskhost:host/state@0.1.0;
                import taskhost:host/queue@0.1.0;
                import taskhost:media/library@0.1.0;
                import taskhost:media/ffmpeg@0.1.0;
                import taskhost:exec/command@0.1.0;
            }
        ",
        world: "taskhost:sdk/imports",
        generate_all,
        generate_unused_types: true,
    });
}

/// What every plugin exports.
pub mod metadata {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package taskhost:sdk;
            world metadata { export taskhost:plugin/metadata@0.1.0; }
        ",
        world: "taskhost:sdk/metadata",
        with: {
            "taskhost:task/types@0.1.0": super::imports::taskhost::task::types,
            "taskhost:plugin/metadata@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_metadata",
        default_bindings_module: "taskhost_sdk::bindings::metadata",
    });
}

/// The role that turns ticks into tasks.
pub mod dispatcher {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package taskhost:sdk;
            world dispatcher { export taskhost:plugin/dispatcher@0.1.0; }
        ",
        world: "taskhost:sdk/dispatcher",
        with: {
            "taskhost:task/types@0.1.0": super::imports::taskhost::task::types,
            "taskhost:plugin/dispatcher@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_dispatcher",
        default_bindings_module: "taskhost_sdk::bindings::dispatcher",
    });
}

/// The role that does the work of a task.
pub mod executor {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package taskhost:sdk;
            world executor { export taskhost:plugin/executor@0.1.0; }
        ",
        world: "taskhost:sdk/executor",
        with: {
            "taskhost:task/types@0.1.0": super::imports::taskhost::task::types,
            "taskhost:plugin/executor@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_executor",
        default_bindings_module: "taskhost_sdk::bindings::executor",
    });
}

/// The role that steers work which lives elsewhere.
pub mod actuator {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package taskhost:sdk;
            world actuator { export taskhost:plugin/actuator@0.1.0; }
        ",
        world: "taskhost:sdk/actuator",
        with: {
            "taskhost:task/types@0.1.0": super::imports::taskhost::task::types,
            "taskhost:plugin/actuator@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_actuator",
        default_bindings_module: "taskhost_sdk::bindings::actuator",
    });
}

/// The role that brings the results of such work home.
pub mod collector {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package taskhost:sdk;
            world collector { export taskhost:plugin/collector@0.1.0; }
        ",
        world: "taskhost:sdk/collector",
        with: {
            "taskhost:task/types@0.1.0": super::imports::taskhost::task::types,
            "taskhost:plugin/actuator@0.1.0": super::actuator::exports::taskhost::plugin::actuator,
            "taskhost:plugin/collector@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_collector",
        default_bindings_module: "taskhost_sdk::bindings::collector",
    });
}
