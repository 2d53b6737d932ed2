// Executes the kind `{{name}}`: adds two numbers.
//
// `generated/plugin.h` has everything that can be called, documented. What is returned to the host is freed by the
// bindings, so it is allocated (`plugin_string_dup`); what is handed to the host is only borrowed (`plugin_string_set`).
// Each attempt runs in a fresh copy of the component: nothing is remembered, and nothing needs to be freed.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generated/plugin.h"

typedef exports_taskhost_plugin_executor_task_error_t task_error_t;

// The host refuses tasks whose input does not match, which lets the reading of JSON below be this simple.
static const char INPUT[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"properties\":{"
    "\"a\":{\"type\":\"number\"},\"b\":{\"type\":\"number\"}},\"required\":[\"a\",\"b\"],\"additionalProperties\":false}";

void exports_taskhost_plugin_metadata_describe(exports_taskhost_plugin_metadata_descriptor_t *ret) {
    exports_taskhost_plugin_metadata_kind_t *kinds = calloc(1, sizeof *kinds);
    plugin_string_dup(&kinds->name, "{{name}}");
    plugin_string_dup(&kinds->summary, "Adds two numbers");
    kinds->input_schema.is_some = true;
    plugin_string_dup(&kinds->input_schema.val, INPUT);
    memset(ret, 0, sizeof *ret);
    plugin_string_dup(&ret->name, "{{name}}");
    plugin_string_dup(&ret->version, "0.1.0");
    plugin_string_dup(&ret->summary, "Adds two numbers");
    ret->kinds.ptr = kinds;
    ret->kinds.len = 1;
}

bool exports_taskhost_plugin_metadata_validate_config(plugin_list_tuple2_string_string_t *config,
                                                      exports_taskhost_plugin_metadata_list_failure_t *err) {
    (void)config, (void)err;
    return true;
}

// FATAL is never retried, RETRY is, INVALID_INPUT blames whoever created the task.
static bool fail(task_error_t *err, uint8_t tag, const char *code, const char *message) {
    memset(err, 0, sizeof *err);
    err->tag = tag;
    plugin_string_dup(&err->val.fatal.code, code);
    plugin_string_dup(&err->val.fatal.message, message);
    return false;
}

// The number behind `"key":`; the schema says that it is there.
static double number(const char *json, const char *key) {
    const char *at = strstr(json, key);
    at = at ? strchr(at, ':') : NULL;
    return at ? strtod(at + 1, NULL) : NAN;
}

bool exports_taskhost_plugin_executor_execute(exports_taskhost_plugin_executor_task_t *task,
                                              exports_taskhost_plugin_executor_json_t *ret, task_error_t *err) {
    char *json = calloc(1, task->input.len + 1), output[64], text[96], attempt[16];
    memcpy(json, task->input.ptr, task->input.len);

    plugin_string_t message, key, setting;
    plugin_string_set(&message, "adding");
    plugin_tuple2_string_string_t field;
    plugin_string_set(&field.f0, "attempt");
    snprintf(attempt, sizeof attempt, "%u", (unsigned)task->attempt);
    plugin_string_set(&field.f1, attempt);
    taskhost_host_log_log(TASKHOST_HOST_LOG_LEVEL_INFO, &message, &(plugin_list_tuple2_string_string_t){&field, 1});

    double sum = number(json, "\"a\"") + number(json, "\"b\""), limit = 0;
    plugin_string_set(&key, "limit");
    if (taskhost_host_config_get(&key, &setting)) {
        snprintf(text, sizeof text, "%.*s", (int)setting.len, (char *)setting.ptr);
        limit = strtod(text, NULL);
    }
    if (limit > 0 && fabs(sum) > limit) {
        snprintf(text, sizeof text, "the sum %.17g is beyond the limit %.17g", sum, limit);
        return fail(err, TASKHOST_TASK_TYPES_TASK_ERROR_INVALID_INPUT, "too-large", text);
    }

    // Answers what the host wants: a long job asks now and then, and stops when it is not PROCEED.
    taskhost_host_context_progress_t progress = {.done = 1, .total = {true, 1}};
    plugin_string_set(&progress.unit, "sums");
    taskhost_host_context_report(&progress);

    snprintf(output, sizeof output, "{\"sum\":%.17g}", sum);
    plugin_string_dup(ret, output);
    return true;
}
