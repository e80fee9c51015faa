// Included once per instruction set, after attention_lanes_body.h. See dv_attention_native.

// The sums of the lanes of sixteen vectors, each by the tree (8, 4, 2, 1) of DV_NAME(sum16), as one vector.
static inline __attribute__((always_inline)) dv_f32x16 DV_NAME(sums)(const dv_f32x16 *x) {
    dv_f32x16 a[8], b[4], c[2];
    for (int i = 0; i < 8; i++) {
        a[i] = __builtin_shufflevector(x[i], x[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               __builtin_shufflevector(x[i], x[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
    for (int i = 0; i < 4; i++) {
        b[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
    for (int i = 0; i < 2; i++) {
        c[i] = __builtin_shufflevector(b[i], b[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               __builtin_shufflevector(b[i], b[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
    return __builtin_shufflevector(c[0], c[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           __builtin_shufflevector(c[0], c[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}

// Scores of `Q` queries against sixteen keys from `keys` on; rows beyond `count` are read as the last one.
static inline __attribute__((always_inline)) void
DV_NAME(score)(int Q, int chunks, const float *q, const uint16_t *keys, size_t stride, int count, float *scores) {
    dv_f32x16 partial[4][16];
    for (int p = 0; p < 16; p++) {
        const uint16_t *key = keys + (size_t)(p < count ? p : count - 1) * stride;
        dv_f32x16 sum[4];
        for (int i = 0; i < Q; i++) sum[i] = (dv_f32x16){0};
        for (int c = 0; c < chunks; c++) {
            const dv_f32x16 k = DV_NAME(load)(key + 16 * c);
            for (int i = 0; i < Q; i++) {
                dv_f32x16 a;
                __builtin_memcpy(&a, q + (size_t)i * (size_t)(16 * chunks) + 16 * c, sizeof a);
                sum[i] = dv_fma(a, k, sum[i]);
            }
        }
        for (int i = 0; i < Q; i++) partial[i][p] = sum[i];
    }
    for (int i = 0; i < Q; i++) {
        const dv_f32x16 s = DV_NAME(sums)(partial[i]);
        __builtin_memcpy(scores + (size_t)i * DV_BLOCK, &s, sizeof s);
    }
}

// Adds the weighted values `first` ..< `end` of a block to the sums of `Q` queries, in order of position.
static inline __attribute__((always_inline)) void
DV_NAME(blend)(int Q, int chunks, const float *weights, const uint16_t *v, size_t stride, int first, int end,
               float *acc) {
    const size_t n = (size_t)(16 * chunks);
    for (int c = 0; c < chunks; c += 4) {
        const int width = chunks - c < 4 ? chunks - c : 4;
        dv_f32x16 sum[4][4];
        for (int i = 0; i < Q; i++) {
            for (int j = 0; j < width; j++) __builtin_memcpy(&sum[i][j], acc + (size_t)i * n + 16 * (c + j), 64);
        }
        for (int p = first; p < end; p++) {
            const uint16_t *row = v + (size_t)p * stride + 16 * c;
            for (int j = 0; j < width; j++) {
                const dv_f32x16 x = DV_NAME(load)(row + 16 * j);
                for (int i = 0; i < Q; i++) sum[i][j] = dv_fma(DV_SPLAT(weights[i * DV_BLOCK + p]), x, sum[i][j]);
            }
        }
        for (int i = 0; i < Q; i++) {
            for (int j = 0; j < width; j++) __builtin_memcpy(acc + (size_t)i * n + 16 * (c + j), &sum[i][j], 64);
        }
    }
}

// The greatest lane.
static inline __attribute__((always_inline)) float DV_NAME(greatest)(dv_f32x16 x) {
    x = __builtin_elementwise_max(
        x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = __builtin_elementwise_max(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
    return fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]));
}

// Turns a block's scores into weights relative to the running maximum and corrects what was summed before.
static inline __attribute__((always_inline)) void
DV_NAME(weights)(float *s, int count, float scale, float *maximum, float *total, float *acc, int n) {
    const dv_i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const dv_f32x16 none = DV_SPLAT(-INFINITY);
    dv_f32x16 x[4], top16 = none;
    dv_i32x16 seen[4];
    for (int i = 0; i < 4; i++) {
        seen[i] = lane < (count - 16 * i);
        __builtin_memcpy(&x[i], s + 16 * i, 64);
        x[i] = (dv_f32x16)(((dv_i32x16)(x[i] * scale) & seen[i]) | ((dv_i32x16)none & ~seen[i]));
        top16 = __builtin_elementwise_max(top16, x[i]);
    }
    const float top = fmaxf(*maximum, DV_NAME(greatest)(top16));
    // Nothing was summed before the first block: its correction is 0, not exp(-inf - top), which is no number here.
    const dv_f32x16 before = {*maximum == -INFINITY ? -200.0f : *maximum - top};
    const float correction = DV_NAME(exp16)(before)[0];
    dv_f32x16 sum = {0};
    for (int i = 0; i < 4; i++) {
        x[i] = (dv_f32x16)((dv_i32x16)DV_NAME(exp16)(x[i] - top) & seen[i]);
        __builtin_memcpy(s + 16 * i, &x[i], 64);
        sum += x[i];
    }
    *total = *total * correction + DV_NAME(sum16)(sum);
    *maximum = top;
    for (int i = 0; i < n; i += 16) {
        dv_f32x16 a;
        __builtin_memcpy(&a, acc + i, 64);
        a *= correction;
        __builtin_memcpy(acc + i, &a, 64);
    }
}

// One tile: `rows` rows that follow each other in one sequence, and the group of heads that shares a key head.
static inline __attribute__((always_inline)) void
DV_NAME(tile)(const dv_attention *c, int chunks, int row, int rows, int keyHead, float *scratch) {
    const int n = 16 * chunks, group = c->heads / c->keyHeads, queries = rows * group;
    const size_t stride = (size_t)c->keyHeads * (size_t)n;
    float *query = scratch, *acc = query + (size_t)queries * (size_t)n, *s = acc + (size_t)queries * (size_t)n;
    float *maximum = s + (size_t)queries * DV_BLOCK, *total = maximum + queries;
    for (int i = 0; i < queries; i++) {
        const size_t head = (size_t)(row + i / group) * (size_t)c->heads + (size_t)(keyHead * group + i % group);
        __builtin_memcpy(query + i * n, c->query + head * (size_t)n, sizeof(float) * (size_t)n);
        maximum[i] = -INFINITY;
        total[i] = 0;
    }
    __builtin_memset(acc, 0, sizeof(float) * (size_t)(queries * n));
    const size_t start = (size_t)c->table[2 * row] * stride + (size_t)(keyHead * n);
    const int first = c->table[2 * row + 1] + 1, last = c->table[2 * (row + rows - 1) + 1] + 1;
    for (int block = 0; block < last; block += DV_BLOCK) {
        const uint16_t *keys = c->keys + start + (size_t)block * stride;
        const uint16_t *values = c->values + start + (size_t)block * stride;
        const int size = last - block < DV_BLOCK ? last - block : DV_BLOCK;
        for (int i = 0; i < queries; i += 4) {
            const int some = queries - i < 4 ? queries - i : 4;
            float *own = s + i * DV_BLOCK;
            for (int p = 0; p < size; p += 16) {
                const uint16_t *k = keys + (size_t)p * stride;
                switch (some) {
                case 4: DV_NAME(score)(4, chunks, query + i * n, k, stride, size - p, own + p); break;
                case 3: DV_NAME(score)(3, chunks, query + i * n, k, stride, size - p, own + p); break;
                case 2: DV_NAME(score)(2, chunks, query + i * n, k, stride, size - p, own + p); break;
                default: DV_NAME(score)(1, chunks, query + i * n, k, stride, size - p, own + p);
                }
            }
            int shared = size;
            for (int j = i; j < i + some; j++) {
                const int count = first + j / group - block;
                if (count < shared) shared = count < 0 ? 0 : count;
                if (count <= 0) continue;
                DV_NAME(weights)(s + j * DV_BLOCK, count < size ? count : size, c->scale, maximum + j, total + j,
                                 acc + j * n, n);
            }
            switch (some) {
            case 4: DV_NAME(blend)(4, chunks, own, values, stride, 0, shared, acc + i * n); break;
            case 3: DV_NAME(blend)(3, chunks, own, values, stride, 0, shared, acc + i * n); break;
            case 2: DV_NAME(blend)(2, chunks, own, values, stride, 0, shared, acc + i * n); break;
            default: DV_NAME(blend)(1, chunks, own, values, stride, 0, shared, acc + i * n);
            }
            // Rows further on see more of the block: values beyond a row's position are never touched for it.
            for (int j = i; j < i + some; j++) {
                const int count = first + j / group - block;
                const int end = count < size ? count : size;
                if (end > shared) DV_NAME(blend)(1, chunks, s + j * DV_BLOCK, values, stride, shared, end, acc + j * n);
            }
        }
    }
    for (int i = 0; i < queries; i++) {
        const size_t head = (size_t)(row + i / group) * (size_t)c->heads + (size_t)(keyHead * group + i % group);
        for (int j = 0; j < n; j++) c->output[head * (size_t)n + (size_t)j] = acc[i * n + j] / total[i];
    }
}

static void DV_NAME(native)(const dv_attention *c, int worker, int workers) {
    const int group = c->heads / c->keyHeads, rowsMax = DV_TILE_ROWS(group);
    float *scratch = c->scratch + (size_t)worker * c->scratchFloats;
    int task = 0;
    for (int row = 0; row < c->rows;) {
        int rows = 1;
        while (rows < rowsMax && row + rows < c->rows && c->table[2 * (row + rows)] == c->table[2 * row] &&
               c->table[2 * (row + rows) + 1] == c->table[2 * row + 1] + rows) {
            rows++;
        }
        for (int head = 0; head < c->keyHeads; head++, task++) {
            if (task % workers != worker) continue;
            switch (c->headSize) {
            case 64: DV_NAME(tile)(c, 4, row, rows, head, scratch); break;
            case 128: DV_NAME(tile)(c, 8, row, rows, head, scratch); break;
            default: DV_NAME(tile)(c, c->headSize / 16, row, rows, head, scratch);
            }
        }
        row += rows;
    }
}
