"""Names by their older paths, as scripts import them: their types are known."""

import functrain_torch as pl
from functrain_torch.callbacks.early_stopping import EarlyStopping
from functrain_torch.callbacks.model_checkpoint import ModelCheckpoint
from functrain_torch.core.hooks import ModelHooks
from functrain_torch.core.lightning import LightningModule
from functrain_torch.loggers.tensorboard import TensorBoardLogger
from functrain_torch.trainer.states import TrainerFn
from functrain_torch.utilities import rank_zero_only
from functrain_torch.utilities.apply_func import move_data_to_device
from functrain_torch.utilities.exceptions import MisconfigurationException
from functrain_torch.utilities.seed import seed_everything


class Net(LightningModule):
    def training_step(self, batch, batch_nb):
        return move_data_to_device(batch, "cpu").sum()


@rank_zero_only
def say(text: str) -> None:
    print(text)


hooks: type[ModelHooks] = Net
hooks.on_fit_start
seed: int = seed_everything(1)
EarlyStopping(monitor=3)  # wrong
ModelCheckpoint(save_top_k="all")  # wrong
logger = TensorBoardLogger("logs")
trainer = pl.Trainer(max_nb_epochs=1, logger=logger, train_percent_check="all")  # wrong
trainer.fit(Net(), train_dataloader=[1])
say(trainer.state.fn == TrainerFn.FITTING)  # wrong
trainer.lr_schedulers[0]["scheduler"].step()
raise MisconfigurationException(trainer.nonsense)  # wrong
