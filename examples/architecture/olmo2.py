"""OLMo 2, an architecture that cdeval does not know: where its blocks and final norm are, and a check of that."""

import torch
from transformers import Olmo2Config, Olmo2ForCausalLM

from cdeval.api import Search, decode, load
from cdeval.models.anatomy import ANATOMIES, Anatomy

# From the causal model down to the module that feeds the head, and from there down to the blocks and the final norm.
ANATOMIES["olmo2"] = Anatomy(base="model", blocks="layers", norm="norm")

if __name__ == "__main__":
    tokenizer = load().tokenizer  # any tokenizer will do for random weights
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = Olmo2Config(vocab_size=len(tokenizer), **sizes, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    model = Olmo2ForCausalLM(config).eval().requires_grad_(False)
    expert = load(model, tokenizer)

    # The last block's output through the final norm and the head is what the model says.
    kept = []
    hook = expert.parts.blocks[-1].register_forward_hook(lambda _block, _inputs, output: kept.append(output))
    ids = torch.tensor([tokenizer("The river had been rising")["input_ids"]])
    logits = model(ids).logits
    hook.remove()
    last = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
    torch.testing.assert_close(expert.parts.logits(expert.parts.finish(last)), logits)

    # Beam search is Hugging Face's, and an exit layer can be the amateur.
    (ours,) = decode(expert, ["The river had been rising"], search=Search(beams=3, max_new_tokens=6, ban="eos"))
    theirs = model.generate(ids, num_beams=3, do_sample=False, length_penalty=0.0, min_new_tokens=6, max_new_tokens=6)
    assert list(ours.token_ids) == theirs[0, ids.shape[1] :].tolist(), "beams read other positions or another mask"
    (contrasted,) = decode(
        expert, ["The river had been rising"], amateur=2, lens="norm", search=Search(max_new_tokens=6)
    )
    print("olmo2 decodes as Hugging Face does; with its exit after 2 blocks as amateur it writes", contrasted.token_ids)
    model.save_pretrained("tiny-olmo2")
    tokenizer.save_pretrained("tiny-olmo2")
