/* Trees built and torn down: trees SCALE
 *
 * One large tree of random keys stays, while binary trees of depths 4 to 16 are built, counted and
 * torn down. */
#include "suite.h"

enum { LONG_LIVED = 300000, SHALLOWEST = 4, DEEPEST = 16 };

struct node {
    struct node *left, *right;
    uint64_t key;
};

static struct node *new_node(uint64_t key) {
    struct node *node = take(sizeof *node);
    *node = (struct node){NULL, NULL, key};
    return node;
}

static struct node *build(int depth) {
    struct node *node = new_node((uint64_t)depth);
    if (depth > 0) {
        node->left = build(depth - 1);
        node->right = build(depth - 1);
    }
    return node;
}

static uint64_t count(const struct node *node) {
    return node ? 1 + count(node->left) + count(node->right) : 0;
}

static void tear_down(struct node *node) {
    if (!node) return;
    tear_down(node->left);
    tear_down(node->right);
    drop(node, sizeof *node);
}

static struct node *search_tree(long keys) {
    struct node *root = NULL;
    uint64_t state = 2;
    while (keys-- > 0) {
        struct node **place = &root;
        uint64_t key = random_next(&state);
        while (*place) place = key < (*place)->key ? &(*place)->left : &(*place)->right;
        *place = new_node(key);
    }
    return root;
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    uint64_t check = 0;
    struct node *stays = search_tree(scaled(LONG_LIVED));
    for (long round = scaled(100); round > 0; round--)
        for (int depth = SHALLOWEST; depth <= DEEPEST; depth += 3)
            for (long i = 1L << (DEEPEST - depth); i > 0; i--) {
                struct node *tree = build(depth);
                check += count(tree);
                tear_down(tree);
            }
    check += count(stays);
    tear_down(stays);
    print_check(check);
    return 0;
}
