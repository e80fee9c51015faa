// Asks libllama what our engine is compared with: greedy tokens or logits of prompts that are given as token ids.
//
// Tools/lib/llama.py builds it:
//   llama-oracle MODEL greedy COUNT [ROWS] < prompts     one prompt a line; prints COUNT greedy tokens for each
//   llama-oracle MODEL logits [ROWS] < prompts           prints the logits after each prompt as JSON
//   llama-oracle MODEL compare [FILE...] < texts         see compare() below
//
// ROWS is the number of positions computed together (default 1). One row at a time and without flash attention
// (`-fa off` of llama-server), llama.cpp's arithmetic is that of our reference kernels: on the same instruction set the
// logits of quantised models agree bit by bit. LLAMA_FLASH and LLAMA_REPACK in the environment switch flash attention
// and repacked weights on; then the logits agree closely only.
#include <llama.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 1 << 16 };

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static int read_prompt(llama_token *tokens) {
    int count = 0, c;
    while ((c = getchar()) != EOF && c != '\n') {
        if (c == ' ' || c == ',') continue;
        ungetc(c, stdin);
        if (count == TOKENS_MAX || scanf("%d", &tokens[count]) != 1) exit(2);
        count++;
    }
    return count;
}

static void decode(struct llama_context *context, llama_token *tokens, int count, int rows) {
    for (int i = 0; i < count; i += rows) {
        const int part = count - i < rows ? count - i : rows;
        if (llama_decode(context, llama_batch_get_one(tokens + i, part)) != 0) {
            fputs("llama_decode failed\n", stderr);
            exit(1);
        }
    }
}

static struct llama_model *load(const char *path, bool repacks) {
    struct llama_model_params params = llama_model_default_params();
    params.use_extra_bufts = repacks;
    struct llama_model *model = llama_model_load_from_file(path, params);
    if (!model) exit(1);
    return model;
}

static struct llama_context *open_context(struct llama_model *model, int cells, int rows, bool flash) {
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)cells;
    params.n_batch = params.n_ubatch = (uint32_t)rows;
    params.n_threads = params.n_threads_batch = 1;
    params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    struct llama_context *context = llama_init_from_model(model, params);
    if (!context) exit(1);
    return context;
}

static int best_of(const float *logits, int size, int but) {
    int best = but == 0 ? 1 : 0;
    for (int i = 0; i < size; i++) {
        if (i != but && logits[i] > logits[best]) best = i;
    }
    return best;
}

// The logits behind each of the tokens from `first` on, row by row.
static void forced(struct llama_context *context, llama_token *tokens, int first, int count, int rows, int size,
                   float *logits) {
    struct llama_batch batch = llama_batch_init(rows, 0, 1);
    for (int start = 0; start < count; start += rows) {
        batch.n_tokens = count - start < rows ? count - start : rows;
        for (int i = 0; i < batch.n_tokens; i++) {
            batch.token[i] = tokens[start + i];
            batch.pos[i] = start + i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = start + i >= first;
        }
        if (llama_decode(context, batch) != 0) {
            fputs("llama_decode failed\n", stderr);
            exit(1);
        }
        for (int i = 0; i < batch.n_tokens; i++) {
            if (!batch.logits[i]) continue;
            memcpy(logits + (size_t)(start + i - first) * size, llama_get_logits_ith(context, i),
                   sizeof(float) * (size_t)size);
        }
    }
    llama_batch_free(batch);
}

// Prints the token that another row of logits prefers, how much nearer or farther it has the plain path's first two,
// and how far its farthest logit is.
static void print_difference(const float *plain, const float *other, int size, int first, int second) {
    float distance = 0;
    for (int i = 0; i < size; i++) distance = fmaxf(distance, fabsf(plain[i] - other[i]));
    const float gap = plain[first] - plain[second];
    printf(" %d %.9g %.9g", best_of(other, size, -1), (double)fabsf(other[first] - other[second] - gap),
           (double)distance);
}

// Follows given texts, whatever the model itself would say: a text is a line with the length of a prompt, then the
// tokens of the prompt and of its continuation. For each position of the continuation it prints a line: the token that
// the plain path prefers (one row at a time, no flash attention, no repacked weights) and how far its second is behind
// it; then the figures of print_difference for llama.cpp as it comes (repacked weights, flash attention, 512 rows at a
// time), and for each FILE, which holds the same rows of logits as native floats.
static void compare(const char *path, int file_count, char **files) {
    enum { ROWS = 512 };
    struct llama_model *plain = load(path, false), *usual = load(path, true);
    const int size = llama_vocab_n_tokens(llama_model_get_vocab(plain));
    static llama_token line[TOKENS_MAX];
    FILE *open[16];
    if (file_count > 16) exit(2);
    for (int f = 0; f < file_count; f++) {
        if (!(open[f] = fopen(files[f], "rb"))) exit(2);
    }
    float *other = malloc(sizeof(float) * (size_t)size);
    int count;
    while ((count = read_prompt(line)) > 0) {
        const int first = line[0] - 1, inputs = count - 2;
        llama_token *tokens = line + 1;
        if (first < 0 || first >= inputs) exit(2);
        float *rows[2];
        for (int path_number = 0; path_number < 2; path_number++) {
            struct llama_context *context =
                path_number ? open_context(usual, inputs, ROWS, true) : open_context(plain, inputs, 1, false);
            rows[path_number] = malloc(sizeof(float) * (size_t)size * (size_t)(inputs - first));
            forced(context, tokens, first, inputs, path_number ? ROWS : 1, size, rows[path_number]);
            llama_free(context);
        }
        for (int i = 0; i < inputs - first; i++) {
            const float *row = rows[0] + (size_t)i * size;
            const int best = best_of(row, size, -1), second = best_of(row, size, best);
            printf("%d %.9g", best, (double)(row[best] - row[second]));
            print_difference(row, rows[1] + (size_t)i * size, size, best, second);
            for (int f = 0; f < file_count; f++) {
                if (fread(other, sizeof(float), (size_t)size, open[f]) != (size_t)size) exit(3);
                print_difference(row, other, size, best, second);
            }
            printf("\n");
        }
        free(rows[0]);
        free(rows[1]);
    }
    for (int f = 0; f < file_count; f++) {
        if (fgetc(open[f]) != EOF) exit(3);
        fclose(open[f]);
    }
    free(other);
    llama_model_free(plain);
    llama_model_free(usual);
}

static void answer(struct llama_model *model, bool is_greedy, int wanted, int rows) {
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    static llama_token tokens[TOKENS_MAX];
    int count;
    while ((count = read_prompt(tokens)) > 0) {
        struct llama_context *context = open_context(model, count + wanted + 1, rows, getenv("LLAMA_FLASH") != NULL);
        decode(context, tokens, count, rows);
        for (int step = 0; step < wanted; step++) {
            llama_token best = best_of(llama_get_logits_ith(context, -1), vocabulary, -1);
            printf(step ? " %d" : "%d", best);
            decode(context, &best, 1, 1);
        }
        if (!is_greedy) {
            const float *logits = llama_get_logits_ith(context, -1);
            for (int i = 0; i < vocabulary; i++) printf("%s%.9g", i ? ", " : "[", (double)logits[i]);
            printf("]");
        }
        printf("\n");
        fflush(stdout);
        llama_free(context);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    if (strcmp(argv[2], "compare") == 0) {
        compare(argv[1], argc - 3, argv + 3);
        return 0;
    }
    const bool is_greedy = strcmp(argv[2], "greedy") == 0;
    const int wanted = is_greedy && argc > 3 ? atoi(argv[3]) : 0;
    const int rows_index = is_greedy ? 4 : 3;
    struct llama_model *model = load(argv[1], getenv("LLAMA_REPACK") != NULL);
    answer(model, is_greedy, wanted, argc > rows_index ? atoi(argv[rows_index]) : 1);
    llama_model_free(model);
    return 0;
}
