# Seeded faults, of which the tests must catch every one. For instance MUTANTS_ARGS='--only gate --jobs 2'.
MUTANTS_ARGS ?=

mutants: $(BUILD)/liblowtide.so $(BUILD)/test/unit ## seeded faults, all of which the tests must catch (long; MUTANTS_ARGS='--only NAME --jobs N')
	python3 test/mutants/mutants.py $(MUTANTS_ARGS)

.PHONY: mutants
