"""Train a tiny BERT with Hugging Face's Trainer, evaluating on the way and saving at the end.

needs: transformers accelerate torch
stderr: progress bars show times
tree:
  train ×1
    setup ×1
    epoch ×2
      data ×4
      step ×4
        forward ×4
        backward ×4
        optimizer ×4
      evaluate ×2
"""

import inspect

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

set_seed(0)
shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, **shape))
rows = [{"input_ids": torch.tensor([1, 2, number + 3]), "labels": number % 2} for number in range(4)]
known = {*inspect.signature(TrainingArguments).parameters}
evaluate = {"eval_strategy", "evaluation_strategy"} & known  # until 4.41
logs = {"logging_dir"} & known  # until 5: else it is named for the time, and saved
arguments = TrainingArguments(
    "out",
    num_train_epochs=2,
    per_device_train_batch_size=2,
    **dict.fromkeys(evaluate, "epoch"),
    **dict.fromkeys(logs, "logs"),
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
    use_cpu=True,
)
trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
trainer.remove_callback(PrinterCallback)  # it tells how long it took
print(float(trainer.train().training_loss).hex())
trainer.save_model("out/model")
