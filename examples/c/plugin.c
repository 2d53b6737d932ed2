// Executes the kind `media.checksum`: the SHA-256 of a file of the media library, or of a text.
//
// `generated/plugin.h` has everything that can be called, documented. What is returned to the host is freed by the
// bindings, so it is allocated (`plugin_string_dup`); what is handed to the host is only borrowed (`plugin_string_set`).

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generated/plugin.h"
#include "sha256.h"

#define PIECE (256 * 1024)

// The host refuses other inputs, which lets the reading of JSON below be this simple: neither text nor id has escapes.
static const char INPUT[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"properties\":{"
    "\"media\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_-]{1,128}$\"},"
    "\"text\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9 .,:;!?_-]*$\"}},"
    "\"additionalProperties\":false,\"minProperties\":1,\"maxProperties\":1}";

// What is kept when the plugin is replaced in the middle of a file.
typedef struct {
    uint64_t offset;
    sha256_t sha;
} checkpoint_t;

typedef exports_taskhost_plugin_executor_task_error_t task_error_t;

void exports_taskhost_plugin_metadata_describe(exports_taskhost_plugin_metadata_descriptor_t *ret) {
    exports_taskhost_plugin_metadata_kind_t *kinds = calloc(1, sizeof *kinds);
    plugin_string_dup(&kinds->name, "media.checksum");
    plugin_string_dup(&kinds->summary, "SHA-256 of a file or of a text");
    kinds->input_schema.is_some = true;
    plugin_string_dup(&kinds->input_schema.val, INPUT);
    memset(ret, 0, sizeof *ret);
    plugin_string_dup(&ret->name, "checksum");
    plugin_string_dup(&ret->version, "1.0.0");
    plugin_string_dup(&ret->summary, "Checksums of media");
    ret->kinds.ptr = kinds;
    ret->kinds.len = 1;
}

bool exports_taskhost_plugin_metadata_validate_config(plugin_list_tuple2_string_string_t *config,
                                                      exports_taskhost_plugin_metadata_list_failure_t *err) {
    (void)config, (void)err;
    return true;
}

static bool fail(task_error_t *err, uint8_t tag, const char *code, const char *message) {
    memset(err, 0, sizeof *err);
    err->tag = tag;
    // The cause is the first thing in a request to retry, too.
    plugin_string_dup(&err->val.fatal.code, code);
    plugin_string_dup(&err->val.fatal.message, message);
    return false;
}

// What an error of the library means for the task.
static bool library_failed(task_error_t *err, const taskhost_media_library_error_t *error) {
    char message[512] = "the library could not be read";
    if (error->tag == TASKHOST_MEDIA_LIBRARY_ERROR_NOT_FOUND)
        return fail(err, TASKHOST_TASK_TYPES_TASK_ERROR_INVALID_INPUT, "no-such-media", "there is no such file");
    if (error->tag == TASKHOST_MEDIA_LIBRARY_ERROR_DENIED || error->tag == TASKHOST_MEDIA_LIBRARY_ERROR_UNAVAILABLE)
        snprintf(message, sizeof message, "%.*s", (int)error->val.denied.len, (char *)error->val.denied.ptr);
    if (error->tag == TASKHOST_MEDIA_LIBRARY_ERROR_UNAVAILABLE)
        return fail(err, TASKHOST_TASK_TYPES_TASK_ERROR_RETRY, "unavailable", message);
    return fail(err, TASKHOST_TASK_TYPES_TASK_ERROR_FATAL, "library", message);
}

// Reports progress; false when the host wants the task to stop, and how it ends then.
static bool going_on(checkpoint_t *at, uint64_t size, task_error_t *err) {
    taskhost_host_context_progress_t progress = {.done = at->offset, .total = {true, size}};
    plugin_string_set(&progress.unit, "bytes");
    switch (taskhost_host_context_report(&progress)) {
    case TASKHOST_HOST_CONTEXT_DIRECTIVE_CANCEL:
        err->tag = TASKHOST_TASK_TYPES_TASK_ERROR_CANCELLED;
        return false;
    case TASKHOST_HOST_CONTEXT_DIRECTIVE_YIELD: {
        plugin_list_u8_t saved = {(uint8_t *)at, sizeof *at};
        taskhost_host_context_checkpoint_error_t ignored; // Then the next attempt begins anew.
        taskhost_host_context_save_checkpoint(&saved, &ignored);
        err->tag = TASKHOST_TASK_TYPES_TASK_ERROR_YIELDED;
        return false;
    }
    default:
        return true;
    }
}

static bool add_media(plugin_string_t *id, sha256_t *sha, task_error_t *err) {
    taskhost_media_library_media_t media;
    taskhost_media_library_error_t error;
    if (!taskhost_media_library_get(id, &media, &error)) return library_failed(err, &error);
    checkpoint_t at = {.offset = 0, .sha = *sha};
    plugin_list_u8_t data;
    if (taskhost_host_context_load_checkpoint(&data) && data.len == sizeof at) memcpy(&at, data.ptr, sizeof at);
    while (at.offset < media.size) {
        if (!taskhost_media_library_read(id, at.offset, PIECE, &data, &error)) return library_failed(err, &error);
        sha256_add(&at.sha, data.ptr, data.len);
        at.offset += data.len;
        if (data.len == 0) break;
        plugin_list_u8_free(&data);
        if (!going_on(&at, media.size, err)) return false;
    }
    *sha = at.sha;
    return true;
}

// The only value of the input, of which the schema allows `{"KEY": "VALUE"}` and no escapes.
static plugin_string_t only_value(const plugin_string_t *json) {
    uint8_t *quote[4], *end = json->ptr + json->len;
    int found = 0;
    for (uint8_t *at = json->ptr; at < end && found < 4; at++)
        if (*at == '"') quote[found++] = at;
    return found < 4 ? (plugin_string_t){json->ptr, 0} : (plugin_string_t){quote[2] + 1, quote[3] - quote[2] - 1};
}

bool exports_taskhost_plugin_executor_execute(exports_taskhost_plugin_executor_task_t *task,
                                              exports_taskhost_plugin_executor_json_t *ret, task_error_t *err) {
    plugin_string_t value = only_value(&task->input), message;
    bool is_text = memchr(task->input.ptr, 'x', value.ptr - task->input.ptr) != NULL; // "text", not "media"
    sha256_t sha;
    sha256_begin(&sha);
    if (is_text)
        sha256_add(&sha, value.ptr, value.len);
    else if (!add_media(&value, &sha, err))
        return false;
    uint64_t bytes = sha.bytes;
    char hex[65], output[160];
    sha256_end(&sha, hex);
    plugin_string_set(&message, "read all of it");
    plugin_tuple2_string_string_t field;
    plugin_string_set(&field.f0, "sha256");
    plugin_string_set(&field.f1, hex);
    taskhost_host_log_log(TASKHOST_HOST_LOG_LEVEL_INFO, &message, &(plugin_list_tuple2_string_string_t){&field, 1});
    snprintf(output, sizeof output, "{\"bytes\":%llu,\"sha256\":\"%s\"}", (unsigned long long)bytes, hex);
    plugin_string_dup(ret, output);
    return true;
}
