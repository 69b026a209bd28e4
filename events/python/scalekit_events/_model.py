from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    # Without `defer_build`, an import would build the validators of all models. The values that pydantic puts into its
    # messages could be personal data.
    model_config = ConfigDict(defer_build=True, hide_input_in_errors=True)
