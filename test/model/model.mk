model-soak: ## the models of the protocols in larger state spaces (long)
	test/model/run.sh soak

.PHONY: model-soak
