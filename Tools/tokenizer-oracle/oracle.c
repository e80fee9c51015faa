// Answers questions about a model's tokenizer with libllama's answers. The protocol is that of TokenizerCheck.swift.
//
//   cc -O1 -I LLAMA/include -I LLAMA/ggml/include oracle.c -L LIBS -lllama -lggml-base -o oracle
//   LD_LIBRARY_PATH=LIBS oracle MODEL < questions
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static int bytes_of_hex(const char *hex, char *bytes) {
    int count = 0;
    for (unsigned value; sscanf(hex + 2 * count, "%2x", &value) == 1; count++) bytes[count] = (char)value;
    return count;
}

static void encode(const struct llama_vocab *vocab, const char *flags, const char *hex) {
    const int limit = (int)strlen(hex) / 2 * 2 + 8;
    char *text = malloc((size_t)limit);
    llama_token *tokens = malloc(sizeof(llama_token) * (size_t)limit);
    const int length = bytes_of_hex(hex, text);
    const int count =
        llama_tokenize(vocab, text, length, tokens, limit, strchr(flags, 'a') != NULL, strchr(flags, 's') != NULL);
    for (int i = 0; i < count; i++) printf(i ? " %d" : "%d", tokens[i]);
    puts(count < 0 ? "error too many tokens" : "");
    free(text);
    free(tokens);
}

static void describe(const struct llama_vocab *vocab, llama_token token) {
    static char piece[1 << 20];
    const int count = llama_token_to_piece(vocab, token, piece, sizeof piece, 0, true);
    for (int i = 0; i < count; i++) printf("%02x", (unsigned char)piece[i]);
    printf("%s %s %s\n", count > 0 ? "" : "-", llama_vocab_is_control(vocab, token) ? "c" : "-",
           llama_vocab_is_eog(vocab, token) ? "e" : "-");
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: oracle MODEL < questions\n", stderr);
        return 2;
    }
    llama_log_set(quiet, NULL);
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(argv[1], params);
    if (!model) return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = 0;
        char *first = strchr(line, ' ');
        char *second = first ? strchr(first + 1, ' ') : NULL;
        if (first) *first++ = 0;
        if (second) *second++ = 0;
        if (strcmp(line, "encode") == 0 && second) encode(vocab, first, second);
        else if (strcmp(line, "token") == 0 && first) describe(vocab, atoi(first));
        else if (strcmp(line, "size") == 0) printf("%d\n", llama_vocab_n_tokens(vocab));
        else puts("error unknown question");
        fflush(stdout);
    }
    free(line);
    llama_model_free(model);
    return 0;
}
