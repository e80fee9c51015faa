// Asks libllama what our engine is compared with: greedy tokens or logits of prompts that are given as token ids.
//
//   cc -O1 -I LLAMA/include -I LLAMA/ggml/include Tools/llama-oracle.c -L LIBS -lllama -lggml-base -o llama-oracle
//   llama-oracle MODEL greedy COUNT [ROWS] < prompts     one prompt a line; prints COUNT greedy tokens for each
//   llama-oracle MODEL logits [ROWS] < prompts           prints the logits after each prompt as JSON
//
// ROWS is the number of positions computed together (default 1). One row at a time and without flash attention
// (`-fa off` of llama-server), llama.cpp's arithmetic is that of our reference kernels: on the same instruction set the
// logits of quantised models agree bit by bit. LLAMA_FLASH and LLAMA_REPACK in the environment switch flash attention
// and repacked weights on; then the logits agree closely only.
#include <llama.h>
#include <math.h>
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

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const int is_greedy = strcmp(argv[2], "greedy") == 0;
    const int wanted = is_greedy && argc > 3 ? atoi(argv[3]) : 0;
    const int rows_index = is_greedy ? 4 : 3;
    const int rows = argc > rows_index ? atoi(argv[rows_index]) : 1;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = getenv("LLAMA_REPACK") != NULL;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (!model) return 1;
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    static llama_token tokens[TOKENS_MAX];
    int count;
    while ((count = read_prompt(tokens)) > 0) {
        struct llama_context_params params = llama_context_default_params();
        params.n_ctx = (uint32_t)(count + wanted + 1);
        params.n_batch = params.n_ubatch = (uint32_t)rows;
        params.n_threads = params.n_threads_batch = 1;
        params.flash_attn_type =
            getenv("LLAMA_FLASH") ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
        struct llama_context *context = llama_init_from_model(model, params);
        if (!context) return 1;
        decode(context, tokens, count, rows);
        for (int step = 0; step < wanted; step++) {
            const float *logits = llama_get_logits_ith(context, -1);
            llama_token best = 0;
            for (int i = 1; i < vocabulary; i++) best = logits[i] > logits[best] ? i : best;
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
    llama_model_free(model);
    return 0;
}
