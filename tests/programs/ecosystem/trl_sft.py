"""Fine-tune a tiny GPT-2 with TRL's supervised trainer, with an evaluation, and save it.

needs: trl datasets
launcher: -W ignore
stderr: progress and times
tree:
  train ×1
    setup ×1
    epoch ×1
      data ×2
      step ×2
        forward ×4
        backward ×4
        optimizer ×2
      evaluate ×1
"""

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

set_seed(0)
words = [
    "<pad>",
    "<end>",
    "<unk>",
    *["the", "a", "red", "blue", "box", "ball", "is", "on", "under"],
]
tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
model = GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_positions=16, n_embd=8, n_layer=1, n_head=2))
rows = Dataset.from_dict({"text": ["the red box is on the ball", "a ball is under the blue box"] * 4})
arguments = SFTConfig(
    "out",
    num_train_epochs=1,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=2,
    eval_strategy="epoch",
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
    use_cpu=True,
    bf16=False,
    max_length=16,
)
trainer = SFTTrainer(model, arguments, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
trainer.remove_callback(PrinterCallback)  # it tells how long it took
print(float(trainer.train().training_loss).hex())
print([value.hex() for value in model.transformer.wte.weight[3].tolist()])
torch.save(model.state_dict(), "state.pt")
